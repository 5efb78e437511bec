"""What an order is, and what becomes of a page of them."""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, Field


class Order(BaseModel):
    """An order as the database keeps it."""

    id: int
    customer: Annotated[str, Field(min_length=1)]
    day: date
    cents: Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Rejected:
    """A row that is no order."""

    line: int
    reason: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Page:
    """The rows of a page, sorted out."""

    orders: list[Order]
    rejected: list[Rejected]
