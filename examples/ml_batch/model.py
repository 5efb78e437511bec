"""A linear model with a penalty, put together from what is known of each shard."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset import Shard
from taskyard import task

PENALTY = 1.0
Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Moments:
    """All that a linear model needs to know of a shard."""

    products: NDArray[np.float64]
    targets: Vector


@dataclass(frozen=True)
class Score:
    """How a model did on a shard."""

    shard: int
    right: int
    rows: int


@task
def summarise(shard: Shard) -> Moments:
    """Return the moments of a shard."""
    rows = with_constant(shard)
    return Moments(rows.T @ rows, rows.T @ shard.labels)


@task
def fit(moments: list[Moments]) -> Vector:
    """Return the weights that fit all shards together."""
    products = sum(one.products for one in moments) + PENALTY * np.eye(len(moments[0].products))
    return np.linalg.solve(products, sum(one.targets for one in moments))


@task
def evaluate(shard: Shard, weights: Vector) -> Score:
    """Count the rows whose kind the model knows."""
    predicted = np.where(with_constant(shard) @ weights > 0, 1, -1)
    return Score(shard.number, int((predicted == shard.labels).sum()), len(predicted))


def with_constant(shard: Shard) -> NDArray[np.float64]:
    """Return the rows of a shard with a column of ones."""
    return np.column_stack([shard.rows, np.ones(len(shard.rows))])
