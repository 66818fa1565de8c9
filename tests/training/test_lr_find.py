"""A learning rate by trying: the steepest point of a known curve, and a real run that leaves a plot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from conftest import TINY
from thorax.errors import ThoraxError
from thorax.lr_find import RateCurve, smoothed
from thorax_launch.cli import main


def test_the_steepest_point_of_a_known_curve():
    """A logistic fall around 1e-3 over the logarithm of the rate, then a rise."""
    rates = np.geomspace(1e-6, 1, 200)
    losses = 0.7 - 0.5 / (1 + np.exp(-4 * (np.log10(rates) + 3))) + np.where(rates > 0.05, 40 * (rates - 0.05), 0)
    curve = RateCurve(rates.tolist(), losses.tolist())
    assert curve.steepest == pytest.approx(1e-3, rel=0.1)
    assert curve.lowest == pytest.approx(0.05, rel=0.15)
    assert curve.png().startswith(b"\x89PNG")


def test_a_loss_that_never_falls_is_said():
    with pytest.raises(ThoraxError, match="the loss did not clearly fall over 50 steps"):
        _ = RateCurve(np.geomspace(1e-6, 1, 50).tolist(), np.linspace(1, 2, 50).tolist()).steepest


def test_means_start_at_the_first_loss():
    assert smoothed([2.0, 2.0, 2.0]) == pytest.approx([2.0] * 3)
    assert smoothed([1.0, 2.0])[1] == pytest.approx((0.9 * 0.1 * 1 + 0.1 * 2) / (1 - 0.81))


def test_the_command_suggests_a_rate_and_leaves_a_plot(images, tmp_path, monkeypatch, capsys, signals_as_before):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text("hyperparameters: {}\n")
    words = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    assert main(["lr-find", "own.yaml", "--train", str(images / "train"), "--steps", "40", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    suggested = float(next(line for line in lines if line.startswith("suggested: ")).split("=")[1].split()[0])
    assert 1e-6 <= suggested < 1 and math.isfinite(suggested)
    assert lines[-1] == "plot:      runs/lr-find/own/output/data/rates.png"
    assert (tmp_path / "runs/lr-find/own/output/data/rates.png").is_file()
    assert not list((tmp_path / "runs/lr-find/own").rglob("*.pt"))
