"""A batch of machine learning on large arrays: shards, features, a model, its evaluation.

    pip install -r requirements.txt
    python main.py                                   # 6 shards of 12 MB
    python main.py --shards 16 --rows 40000          # 16 shards of 61 MB

The arrays go from task to task as files that the next one maps, so nothing is copied through the program: it
holds futures, and sees a few numbers at the end. The projection is the same for all shards: `unmapped` hands
it to each, and it is stored once.
"""

import argparse
import time
from typing import NamedTuple

from dataset import Shard, make_shard
from features import extract, make_projection
from model import Score, evaluate, fit, summarise
from taskyard import flow, unmapped


class Outcome(NamedTuple):
    """What a training came to."""

    megabytes: float
    accuracy: float
    by_shard: list[Score]


@flow
def train(shards: int, rows: int, features: int) -> Outcome:
    """Train on all shards but the last two, and evaluate on these.

    Args:
        shards: How many shards there are.
        rows: Rows in each of them.
        features: How many random features each row is described by.
    """
    projection = make_projection.submit(features)
    raw = make_shard.map(range(shards), rows=rows)
    described = extract.map(raw, unmapped(projection))
    weights = fit.submit(summarise.map(described[:-2]))
    scores = evaluate.map(described[-2:], unmapped(weights)).result()
    megabytes = shards * Shard.bytes_of(rows) / 1e6
    return Outcome(megabytes, sum(one.right for one in scores) / sum(one.rows for one in scores), scores)


def main() -> None:
    """Train, and print how good the model is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--rows", type=int, default=8_000, help="in each shard")
    parser.add_argument("--features", type=int, default=256, help="of each row")
    chosen = parser.parse_args()
    if chosen.shards < 3:
        parser.error("two shards are for the evaluation: --shards 3 is the least")

    started = time.perf_counter()
    outcome = train(chosen.shards, chosen.rows, chosen.features)
    seconds = time.perf_counter() - started
    print(f"{chosen.shards} shards, {outcome.megabytes:,.0f} MB of rows, {seconds:.1f} s")
    for score in outcome.by_shard:
        print(f"shard {score.shard}: {score.right:,} of {score.rows:,} right")
    print(f"accuracy {outcome.accuracy:.4f}")


if __name__ == "__main__":
    main()
