"""The tasks of a region."""

import csv
from collections import defaultdict
from datetime import date
from decimal import Decimal
from pathlib import Path

from pydantic import ValidationError

from regions.models import RegionReport, Sale
from taskyard import runtime, task

RATES = {"EUR": Decimal(1), "CHF": Decimal("1.05"), "GBP": Decimal("1.17"), "SEK": Decimal("0.089")}

ByDay = dict[date, Decimal]


class UnusableSales(Exception):
    """A file has sales that nobody can add up."""


@task
def read_sales(file: Path) -> list[Sale]:
    """Read the sales of a region.

    Raises:
        UnusableSales: A row is wrong.
    """
    with file.open(newline="") as rows:
        try:
            return [Sale.model_validate(row) for row in csv.DictReader(rows)]
        except ValidationError as error:
            wrong = error.errors()[0]
            raise UnusableSales(f"{file.name}: {wrong['loc'][0]} is {wrong['input']!r}") from None


@task(retries=2, retry_delay_seconds=0.05)
def rates_of(sales: list[Sale]) -> dict[str, Decimal]:
    """Return what the currencies of sales are worth; the bank never answers at once."""
    if runtime.task_run.run_count == 1:
        raise ConnectionError("the bank is closed for a moment")
    return {currency: RATES[currency] for currency in {sale.currency for sale in sales}}


@task
def in_euros(sales: list[Sale], rates: dict[str, Decimal]) -> tuple[int, ByDay]:
    """Return the number of sales, and what was sold on each day."""
    by_day: ByDay = defaultdict(Decimal)
    for sale in sales:
        by_day[sale.day] += sale.amount * rates[sale.currency]
    return len(sales), dict(by_day)


@task
def summarise(region: str, sold: tuple[int, ByDay]) -> RegionReport:
    """Report what a region has sold."""
    sales, by_day = sold
    best = max(by_day, key=lambda day: (by_day[day], day))
    return RegionReport(region, sales, sum(by_day.values(), Decimal(0)), best)
