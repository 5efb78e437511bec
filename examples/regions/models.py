"""What the flows tell each other."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, Field


class Sale(BaseModel):
    """One sale, in the currency of its region."""

    day: date
    amount: Decimal = Field(gt=0)
    currency: str = Field(pattern="^[A-Z]{3}$")


@dataclass(frozen=True)
class RegionReport:
    """What a region has sold."""

    region: str
    sales: int
    euros: Decimal
    best_day: date


@dataclass(frozen=True)
class CompanyReport:
    """What all regions have sold, as far as it is known; and why it is not."""

    regions: list[RegionReport]
    missing: dict[str, str]

    @property
    def sales(self) -> int:
        """The number of all sales that are known."""
        return sum(one.sales for one in self.regions)

    @property
    def euros(self) -> Decimal:
        """What all sales that are known are worth."""
        return sum((one.euros for one in self.regions), Decimal(0))
