"""Orders from a web service into a database: pages, retries, and a table for the rows that are wrong.

    python main.py                                   # 20 pages of 50 rows into orders.db
    python main.py --pages 2000 --rows 200           # 400,000 rows
    python main.py --url http://HOST:PORT            # another service, for example `python service.py`

Each page is fetched, checked and written by runs of its own, so a page that fails is missing and nothing
else. Fetching is retried while the service is busy, and not when it says that the request is wrong. Rows that
do not fit the model are kept beside the others, with the reason. Whatever is written replaces what an earlier
run wrote of the same page: the program can be killed at any moment, and started again.
"""

import argparse
from pathlib import Path

import warehouse
from service import serving
from steps import clean, count_pages, fetch, load
from taskyard import flow, get_run_logger


@flow
def import_orders(url: str, database: Path) -> int:
    """Import all orders of a service.

    Returns:
        The number of pages that are missing because they could not be fetched.
    """
    warehouse.create(database)
    loaded = []
    for page in range(count_pages(url)):
        fetched = fetch.submit(url, page)
        loaded.append(load.submit(database, page, clean.submit(fetched)))
    missing = [page for page, future in enumerate(loaded) if not future.wait().is_completed()]
    if missing:
        get_run_logger().warning("%d pages are missing: %s", len(missing), missing)
    return len(missing)


def main() -> None:
    """Import, and say what is in the database afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", type=Path, default=Path("orders.db"))
    parser.add_argument("--url", help="a service that is there; without it the program starts its own")
    parser.add_argument("--pages", type=int, default=20, help="of the program's own service")
    parser.add_argument("--rows", type=int, default=50, help="in each page")
    chosen = parser.parse_args()

    database = chosen.database.absolute()
    if chosen.url:
        missing = import_orders(chosen.url, database)
    else:
        with serving(chosen.pages, chosen.rows) as url:
            missing = import_orders(url, database)

    orders, cents, reasons = warehouse.summary(database)
    print(f"{orders:,} orders of {cents / 100:,.2f} in {chosen.database}, {missing} pages missing")
    for reason, rows in reasons:
        print(f"{rows:6,} rows rejected: {reason}")


if __name__ == "__main__":
    main()
