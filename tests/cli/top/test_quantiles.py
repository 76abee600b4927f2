"""Quantiles of histograms, compared with those of a real Prometheus."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest

from tests.support.prometheus import scraping
from tokengrpc.cli.top.servers.quantiles import histogram_quantile

if TYPE_CHECKING:
    from pathlib import Path

BOUNDS = (0.001, 0.01, 0.05, 0.25, 1.0, 2.5)
QUANTILES = (0.0, 0.01, 0.5, 0.9, 0.99, 1.0)
HISTOGRAMS = 25


def random_histogram(choose: random.Random) -> dict[float, float]:
    """Returns buckets of which some are empty. The first ones may be, and the infinite one."""
    counts = [choose.choice((0, 0, 1, 7, 1_000, 2.5)) for _ in range(len(BOUNDS) + 1)]
    sums = [sum(counts[: number + 1]) for number in range(len(counts))]
    return dict(zip((*BOUNDS, math.inf), sums, strict=True))


def expression(quantile: float, buckets: dict[float, float]) -> str:
    """Returns a query that needs no data."""
    parts = (
        f'label_replace(vector({count}), "le", "{"+Inf" if math.isinf(bound) else bound}", "", "")'
        for bound, count in buckets.items()
    )
    return f"histogram_quantile({quantile}, {' or '.join(parts)})"


def test_quantiles_are_those_of_prometheus(tmp_path: Path) -> None:
    """Of random histograms, at the ends and between them."""
    choose = random.Random(7)
    histograms = [random_histogram(choose) for _ in range(HISTOGRAMS)]
    with scraping(tmp_path) as prometheus:
        for buckets in histograms:
            for quantile in QUANTILES:
                (found,) = prometheus.query(expression(quantile, buckets))
                theirs, ours = float(found["value"][1]), histogram_quantile(quantile, buckets)
                same = ours is None if math.isnan(theirs) else ours == pytest.approx(theirs, rel=1e-9)
                # Prometheus divides by zero in an empty first bucket.
                assert same or (quantile == 0.0 and math.isnan(theirs)), (quantile, buckets, theirs, ours)


@pytest.mark.parametrize("buckets", [{}, {math.inf: 3.0}, {0.1: 1.0, 0.2: 2.0}, {0.1: 0.0, math.inf: 0.0}])
def test_without_observations_or_bounds_there_is_none(buckets: dict[float, float]) -> None:
    """Or without the infinite bound."""
    assert histogram_quantile(0.5, buckets) is None
