"""What benchmarks share: turns, spread, and the ratio that is refused where noise could have made it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def fair(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import fair

    return fair


def test_sides_take_turns_at_least_so_often_whatever_the_time(fair):
    turns: list[str] = []
    took = fair.alternate(lambda: turns.append("A"), lambda: turns.append("B"), seconds=0, least=3)
    assert turns == ["A", "B"] * 4  # the first warms up
    assert [len(side) for side in took] == [3, 3]


def test_rounds_end_at_their_most(fair):
    took = fair.alternate(lambda: None, lambda: None, lambda: None, seconds=3600, most=5)
    assert [len(side) for side in took] == [5, 5, 5]


@pytest.mark.parametrize(
    ("better", "text"),
    [
        ([2.0, 2.1, 1.9], "**2.00x** (1.90 to 2.10)"),
        ([0.5, 0.52, 0.48], "**0.50x** (0.48 to 0.52)"),
        ([1.2, 1.1, 1.4], "no ratio: spread 1.10 to 1.40"),
        ([0.9, 1.0, 1.1], "no ratio: spread 0.90 to 1.10"),
        ([3.0], "no ratio: one round"),
        # Of many rounds the middle half counts: one that met other work does not undo the rest.
        ([1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 9.0], "**1.50x** (1.50 to 1.50)"),
        ([1.0, 1.0, 1.0, 1.1, 1.2, 1.6, 1.6, 1.6], "no ratio: spread 1.00 to 1.60"),
    ],
)
def test_a_ratio_is_printed_only_where_it_is_more_than_the_spread(fair, better, text):
    assert fair.ratio(better) == text


def test_the_same_figures_are_refused_from_either_side(fair):
    better = [1.2, 1.1, 1.4]
    assert fair.ratio(better).startswith("no ratio") and fair.ratio([1 / x for x in better]).startswith("no ratio")


def test_a_row_has_speeds_and_the_ratio_of_rounds(fair):
    row = fair.compare("Step", "plain", 30, [1.0, 2.0, 1.0], [3.0, 6.0, 3.0], target=">= 2x")
    assert row == ("Step", "30.0 images/s", "10.0 images/s: plain", "**3.00x** (3.00 to 3.00)", ">= 2x", "")


def test_the_machine_is_named_with_its_load(fair):
    text = fair.machine()
    assert f"torch {torch.__version__}" in text and "AMX" in text and f"{fair.cores()} core(s)" in text
    assert float(text.rpartition("load ")[2]) >= 0
