"""A report of several regions: a flow calls a flow for each of them, and goes on without those that fail.

    cd examples && python -m regions                     # four regions, one of which has no usable data
    cd examples && python -m regions --days 3000         # ten years of each
    cd examples && python -m regions --without south     # exits with 1 if any other region is missing

Each region is a run of its own, with tasks of its own, and can be looked at (`taskyard run tree`). The flow
around them asks for states instead of values (`return_state=True`), so it sees what failed and decides what
that means. The regions are worked on at the same time.
"""

import argparse
import asyncio
import sys
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from regions.flows import company_report
from regions.sales import REGIONS, write_sales


def main() -> int:
    """Write sales, have the report made, and print it."""
    parser = argparse.ArgumentParser(prog="python -m regions", description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=60, help="of sales, in each region")
    parser.add_argument(
        "--without", action="append", default=[], choices=REGIONS, help="regions to leave out"
    )
    chosen = parser.parse_args()

    regions = [region for region in REGIONS if region not in chosen.without]
    with TemporaryDirectory() as folder:
        write_sales(Path(folder), date(2026, 1, 1), chosen.days)
        report = asyncio.run(company_report(Path(folder), regions))

    for one in report.regions:
        print(f"{one.region:8} {one.sales:7,} sales {one.euros:16,.2f} EUR   best {one.best_day}")
    print(f"{'all':8} {report.sales:7,} sales {report.euros:16,.2f} EUR")
    for region, reason in report.missing.items():
        print(f"{region:8} missing: {reason}")
    return 1 if report.missing else 0


if __name__ == "__main__":
    sys.exit(main())
