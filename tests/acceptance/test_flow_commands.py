"""``taskyard flow resume``: a flow whose program was ended is taken up by another one."""

import signal
from pathlib import Path

from support.programs import Stage, eventually

from taskyard_contract.ids import format_id

PROGRAM = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from taskyard import flow, task, unmapped

HERE = Path(__file__).parent

@dataclass
class Settings:
    count: int

@task
def read():
    return Settings(20)

@task
def load(place, number):
    with open(HERE / place, "a") as log:
        log.write(f"load-{number}\\n")
    return number

@task
def total(place, values):
    while (HERE / "hangs").exists():
        time.sleep(0.05)
    with open(HERE / place, "a") as log:
        log.write("total\\n")
    return sum(values)

@flow
def main(place):
    values = load.map(unmapped(place), range(read().count))
    return total(place, values)

if __name__ == "__main__":
    main("log")
"""


def test_row_115_a_flow_whose_program_was_ended_is_planned_and_resumed_by_the_command(
    stage: Stage, tmp_path: Path
) -> None:
    script, log = tmp_path / "program.py", tmp_path / "log"
    script.write_text(PROGRAM)
    (tmp_path / "hangs").touch()
    program = stage.start_file(script)
    eventually(lambda: log.exists() and len(log.read_text().split()) == 20, "the map was executed")
    [run] = eventually(lambda: stage.document("run", "ls", "--kind", "flow"), "the flow run")
    busy = stage.call("flow", "resume", run["id"])
    assert busy.returncode == 1
    assert "has not ended" in busy.stderr
    program.end(signal.SIGTERM)
    (tmp_path / "hangs").unlink()
    eventually(lambda: stage.document("run", "show", run["id"])["state"] == "CRASHED", "it crashed")

    plan = stage.document("flow", "resume", run["id"], "--dry-run")
    assert (plan["reused"], plan["executed"]) == (21, 1), plan
    shown = stage.call("flow", "resume", run["id"], "--dry-run").stdout
    assert "reuse 21, rerun at least 1" in shown
    done = stage.call("flow", "resume", run["id"])
    assert (done.returncode, done.stdout) == (0, f"{run['id']} Completed\n"), done.stderr
    lines = log.read_text().split()
    assert sorted(lines) == sorted([*(f"load-{number}" for number in range(20)), "total"])
    again = stage.call("flow", "resume", run["id"])
    assert again.returncode == 1
    assert "has completed" in again.stderr
    missing = stage.call("flow", "resume", format_id(bytes(16)))
    assert missing.returncode == 1
    assert "Traceback" not in missing.stderr


MODELS = """
from pydantic import BaseModel

class Item(BaseModel):
    name: str
    tags: set[str] = {"green", "black", "white", "red"}
"""
ORDERS = """
from dataclasses import dataclass
from pathlib import Path
from pydantic import BaseModel
from models import Item
from taskyard import flow, task

HERE = Path(__file__).parent

class Order(BaseModel):
    number: int
    item: Item

@dataclass(frozen=True)
class Price:
    amount: float
    of: frozenset

@task
def price(order: Order, item: Item):
    with open(HERE / "log", "a") as log:
        log.write(f"{order.number}\\n")
    if order.number == 7 and not (HERE / "mended").exists():
        raise ValueError("no price")
    return Price(1.5 * order.number, frozenset(item.tags))

@task
def amount(price: Price):
    with open(HERE / "log", "a") as log:
        log.write(f"amount-{price.amount}\\n")
    return price.amount

@flow
def main(item: Item):
    prices = price.map([Order(number=n, item=item) for n in range(8)], [item] * 8)
    return sum(amount.map(prices).result())

if __name__ == "__main__":
    print(main(Item(name="tea")))
"""


def test_row_115_calls_with_models_of_the_program_are_found_by_another_process(
    stage: Stage, tmp_path: Path
) -> None:
    """Models have sets, which each process writes in another order; and the file is another module there."""
    (tmp_path / "models.py").write_text(MODELS)
    script, log = tmp_path / "orders.py", tmp_path / "log"
    script.write_text(ORDERS)
    stage.start_file(script).process.wait(60)
    [run] = stage.document("run", "ls", "--kind", "flow")
    assert run["state"] == "FAILED"
    plan = stage.document("flow", "resume", run["id"], "--dry-run")
    assert (plan["reused"], plan["executed"]) == (14, 2), plan
    (tmp_path / "mended").touch()
    done = stage.call("flow", "resume", run["id"])
    assert (done.returncode, done.stdout) == (0, f"{run['id']} Completed\n"), done.stderr
    lines = log.read_text().split()
    assert sorted(lines) == sorted([*map(str, range(8)), "7", *(f"amount-{1.5 * n}" for n in range(8))])
