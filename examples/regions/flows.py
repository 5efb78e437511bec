"""The flows: a region, and the company."""

import asyncio
from pathlib import Path

from regions.models import CompanyReport, RegionReport
from regions.tasks import in_euros, rates_of, read_sales, summarise
from taskyard import State, flow, get_run_logger


@flow(flow_run_name="report of {region}", timeout_seconds=600)
def region_report(region: str, file: Path) -> RegionReport:
    """Report what a region has sold.

    Raises:
        UnusableSales: Nobody can add up what the file has.
    """
    sales = read_sales.submit(file)
    report = summarise.submit(region, in_euros.submit(sales, rates_of.submit(sales)))
    read = sales.wait()
    if read.is_failed():
        raise read.exception()
    return report.result()


@flow
async def company_report(folder: Path, regions: list[str]) -> CompanyReport:
    """Report what all regions have sold; those that fail are missing in the report.

    Raises:
        ValueError: No region could report anything.
    """
    states: list[State[RegionReport]] = await asyncio.gather(
        *(
            asyncio.to_thread(region_report, region, folder / f"{region}.csv", return_state=True)
            for region in regions
        )
    )
    by_region = dict(zip(regions, states, strict=True))
    reports = [state.result() for state in by_region.values() if state.is_completed()]
    missing = {
        region: str(state.result(raise_on_failure=False))
        for region, state in by_region.items()
        if not state.is_completed()
    }
    if not reports:
        raise ValueError(f"no region could report anything: {missing}")
    if missing:
        get_run_logger().warning("the report is made without %s", ", ".join(missing))
    return CompanyReport(reports, missing)
