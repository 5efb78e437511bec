"""Keeps a data process for a directory, says where, and waits: to be killed.

`python with_data_process.py DIRECTORY` prints the process id, the port and a path that lets a blob in.
"""

import sys
import time
from pathlib import Path

from support.data_server import content

from taskyard_controlplane.data_process.grants import DataPort

DATA = bytes(8 * 1024 * 1024)

with DataPort("127.0.0.1:0").grants(Path(sys.argv[1])) as grants:
    if not grants.keeper.is_ready(60):
        sys.exit("the data process did not begin")
    grant = grants.write(content(DATA))
    assert grant is not None
    print(grants.keeper.pid, grant.port, grant.url, flush=True)
    time.sleep(600)
