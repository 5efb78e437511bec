"""An asynchronous crawler: which packages a package needs, asked of an index that is slow, and partly down.

    python main.py                              # 150 packages, from an index that the program serves itself
    python main.py --packages 3000              # more
    python main.py --patience 5 app             # waits longer for answers

Each package is asked for as soon as it is known, by a coroutine of its own, hundreds at a time: their runs
share processes and take no slots. A request that takes too long is cancelled by the timeout of its task, one
that fails is repeated, and what stays unknown is missing in the result, with the reason.
"""

import argparse
import asyncio
import time

from client import Index
from closure import requirements_of
from index_for_demo import serving


async def main() -> None:
    """Crawl, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", nargs="?", default="package-0", help="where to begin")
    parser.add_argument("--packages", type=int, default=150, help="in the index")
    parser.add_argument("--patience", type=float, default=1.0, help="seconds that an answer may take")
    parser.add_argument("--deadline", type=float, default=120.0, help="seconds for all of it")
    chosen = parser.parse_args()

    started = time.perf_counter()
    async with serving(chosen.packages) as (host, port):
        index = Index(host, port)
        needed = await asyncio.wait_for(
            requirements_of(chosen.package, index, chosen.patience), chosen.deadline
        )
    seconds = time.perf_counter() - started
    print(f"{chosen.package} needs {len(needed.packages):,} packages, {needed.kilobytes:,} kB")
    for reason, packages in sorted(needed.unknown.items()):
        print(f"{len(packages):6,} unknown ({reason}): {', '.join(sorted(packages)[:3])}")
    print(f"asked for {needed.asked:,} packages in {seconds:.1f} s")


if __name__ == "__main__":
    asyncio.run(main())
