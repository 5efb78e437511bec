"""Sales to report on, as files; those of the south are broken."""

import csv
from datetime import date, timedelta
from pathlib import Path

REGIONS = ("north", "south", "east", "west")
CURRENCIES = {"north": "SEK", "south": "CHF", "east": "EUR", "west": "GBP"}
A_DAY = 10


def write_sales(folder: Path, first: date, days: int) -> None:
    """Write a file for each region."""
    for number, region in enumerate(REGIONS):
        with (folder / f"{region}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["day", "amount", "currency"])
            for sale in range(days * A_DAY):
                day = first + timedelta(days=sale // A_DAY)
                cents = 500 + (sale * 7919 + number * 104_729) % 20_000
                writer.writerow([day, f"{cents / 100:.2f}", CURRENCIES[region]])
            if region == "south":
                writer.writerow([first, "n/a", CURRENCIES[region]])
