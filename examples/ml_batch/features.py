"""Random features: what makes a curved border straight."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dataset import COLUMNS, Shard
from taskyard import task


@dataclass(frozen=True)
class Projection:
    """Directions, and where each begins."""

    directions: NDArray[np.float64]
    offsets: NDArray[np.float64]


@task
def make_projection(features: int) -> Projection:
    """Draw the directions that all shards are projected on."""
    source = np.random.default_rng(2026)
    directions = source.normal(scale=0.5, size=(COLUMNS, features))
    return Projection(directions, source.uniform(0, 2 * np.pi, size=features))


@task
def extract(shard: Shard, projection: Projection) -> Shard:
    """Return a shard with features in the place of its rows."""
    described = shard.rows @ projection.directions
    described += projection.offsets
    np.cos(described, out=described)
    return replace(shard, rows=described)
