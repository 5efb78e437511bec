"""What programs do not wait for that only import the SDK."""

import subprocess
import sys

LARGE = (
    "asyncio",
    "ctypes",
    "grpc",
    "pydantic",
    "subprocess",
    "taskyard._prefect_names",
    "taskyard_api.v1.admin_service_pb2",
)


def test_importing_the_decorators_leaves_out_what_is_large() -> None:
    script = f"import sys; from taskyard import flow, task; print([m for m in {LARGE} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
