"""How calibration is found: on validation images, by one of METHODS, which cross-validation over patients chooses.

* none: the logits as they are.
* prior: a bias that takes class weights and class-balanced drawing back out; it follows from them and fits nothing.
* temperature: one factor (Guo et al., "On calibration of modern neural networks", 2017).
* bias: one shift.
* platt: factor and shift (Platt, "Probabilistic outputs for support vector machines", 1999); of exclusive classes one
  factor and a shift for each class (Alexandari et al., "Maximum likelihood with bias-corrected calibration", 2020).

All fits minimise the negative log-likelihood of Platt's targets, (N+ + 1) / (N+ + 2) in place of 1 and 1 / (N- + 2) in
place of 0, so that a perfect separation does not make every answer certain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.data.splits import patient_folds
from thorax.evaluation.arrays import Array
from thorax.evaluation.binning import calibration_errors
from thorax.evaluation.calibration import Calibration
from thorax.labels import LabelSpace, Task

#: From the fewest fitted numbers to the most.
METHODS = ("none", "prior", "temperature", "bias", "platt")
#: Those that few patients are enough for.
SIMPLE = ("none", "temperature")
#: Parts that the patients of validation are cut into, to choose a method.
FOLDS = 5
#: Temperatures are looked for between these: 0.05 makes a logit of 0.5 certain, 20 makes one of 10 a coin.
LOWEST, HIGHEST = 0.05, 20.0
#: Biases are looked for up to this far from 0.
FURTHEST = 50.0


@dataclass(frozen=True)
class Measured:
    """Answers on validation images, and what is known of them.

    Attributes:
        targets: (N, L) in {0, 1, NaN}; NaN is unknown and left out.
        logits: (N, L) before sigmoid or softmax; rows with NaN are left out.
        task: multiclass is calibrated as a whole, else label by label.
        patients: (N,) the patient of each image.
        prior: (L,) how far class weights and balanced drawing move the logits up; zeros: not at all.
    """

    targets: Array
    logits: Array
    task: Task
    patients: list[str]
    prior: Array


@dataclass(frozen=True)
class Chosen:
    """A calibration, and how well it holds on patients that it was not fitted on.

    Attributes:
        losses: by label the log loss of each method tried on held-out patients; empty where nothing was compared.
        errors: by label (calibration error before, after), each image's answer calibrated by a fit on other patients.
    """

    calibration: Calibration
    losses: list[dict[str, float]]
    errors: list[tuple[float, float]]

    def described(self, space: LabelSpace) -> dict[str, Any]:
        """{output: {"method", "ece_before", "ece", "log_loss": {method: loss}}}, as metrics.json has it."""
        rows = zip(space.outputs, self.calibration.methods, self.errors, self.losses, strict=True)
        return {
            name: {"method": method, "ece_before": _known(before), "ece": _known(after), "log_loss": losses}
            for name, method, (before, after), losses in rows
        }


def fit(method: str, measured: Measured) -> Calibration:
    """The calibration by a method; a label without both answers stays as it is."""
    labels = measured.targets.shape[1]
    if measured.task == "multiclass":
        return _together(method, measured)
    keep = ~np.isnan(measured.targets) & ~np.isnan(measured.logits)
    found = [_single(method, measured, k, np.flatnonzero(keep[:, k])) for k in range(labels)]
    temperatures, biases = np.array(found).T
    return Calibration(temperatures, biases, (method,) * labels)


def choose(rule: str, measured: Measured, seed: int = 0) -> Chosen:
    """The calibration by the hyperparameter `calibration`: one of METHODS, or the best of them by the log loss on
    held-out patients ("auto"), label by label.

    Of methods that are equally good the one with fewer numbers is taken. Exclusive classes choose between none and
    temperature, which leave the most probable class as it is; so does a label with fewer than FOLDS patients that have
    it, or that do not. Where a logit is infinite nothing is calibrated.
    """
    labels = measured.targets.shape[1]
    if np.isinf(measured.logits).any():
        rule = "none"
    exclusive = measured.task == "multiclass"
    tried: tuple[str, ...] = (rule,) if rule != "auto" else SIMPLE if exclusive else METHODS
    tried = tuple(m for m in tried if m != "prior" or rule == "prior" or measured.prior.any())
    folds = patient_folds(measured.targets, measured.patients, FOLDS, seed)
    held_out = {method: _held_out(method, measured, folds) for method in tried}
    losses = {method: _log_losses(measured, z) for method, z in held_out.items()}
    simple = tuple(m for m in tried if m in SIMPLE) or tried
    picked = [
        min(tried if enough else simple, key=lambda m, k=k: (losses[m][k], METHODS.index(m)))  # type: ignore[misc]
        for k, enough in enumerate(_enough(measured))
    ]
    fits = {method: fit(method, measured) for method in set(picked)}
    calibration = Calibration(
        np.array([fits[m].temperatures[k] for k, m in enumerate(picked)]),
        np.array([fits[m].biases[k] for k, m in enumerate(picked)]),
        tuple(picked),
    )
    after = np.stack([held_out[m][:, k] for k, m in enumerate(picked)], axis=1)
    errors = [_errors(measured, z) for z in (measured.logits, after)]
    compared = [{m: float(losses[m][k]) for m in tried} if len(tried) > 1 else {} for k in range(labels)]
    return Chosen(calibration, compared, list(zip(*errors, strict=True)))


def _held_out(method: str, measured: Measured, folds: Array) -> Array:
    """(N, L) logits, each calibrated by a fit on the other folds' patients."""
    z = measured.logits.astype(np.float64)
    for fold in np.unique(folds):
        inside = folds == fold
        others = Measured(measured.targets[~inside], measured.logits[~inside], measured.task, [], measured.prior)
        z[inside] = fit(method, others).logits(measured.logits[inside])
    return z


def _enough(measured: Measured) -> list[bool]:
    """Whether each label has FOLDS patients with it and FOLDS without."""
    patients = np.array(measured.patients)
    counts = [[len(set(patients[column == answer])) for answer in (0, 1)] for column in measured.targets.T]
    return [min(pair) >= FOLDS for pair in counts]


def _log_losses(measured: Measured, z: Array) -> Array:
    """(L,) mean negative log-likelihood; exclusive classes all have that of their softmax; 0 where nothing is known."""
    y = measured.targets
    known = ~np.isnan(y) & np.isfinite(z)
    if measured.task == "multiclass":
        rows = known.all(axis=1)
        terms = np.logaddexp.reduce(z[rows], axis=1) - (y[rows] * z[rows]).sum(axis=1)
        return np.full(y.shape[1], terms.mean() if rows.any() else 0.0)
    y, z = np.where(known, y, 0), np.where(known, z, 0)
    terms = np.where(known, np.logaddexp(0, z) - y * z, 0)
    return np.asarray(terms.sum(axis=0) / np.maximum(known.sum(axis=0), 1))


def _errors(measured: Measured, z: Array) -> list[float]:
    """(L,) calibration error of the probabilities of logits."""
    rows = ~np.isnan(z).any(axis=1)
    y = measured.targets[rows]
    p = Calibration.none(z.shape[1]).probabilities(z[rows], measured.task)
    found: list[float] = calibration_errors(y, p).tolist()
    return found


def _single(method: str, measured: Measured, k: int, rows: Array) -> tuple[float, float]:
    """(temperature, bias) of one label."""
    y, z = measured.targets[rows, k].astype(np.float64), measured.logits[rows, k].astype(np.float64)
    positives, negatives = float(y.sum()), float(len(y) - y.sum())
    if method == "prior":
        return 1.0, -float(measured.prior[k])
    if method == "none" or not positives or not negatives:
        return 1.0, 0.0
    smooth = np.where(y == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    if method == "temperature":
        return _minimum(lambda t: float(np.mean(np.logaddexp(0, z / t) - smooth * z / t))), 0.0

    def loss(scale: float, biases: Array) -> tuple[float, Array]:
        u = z * scale + biases[0]
        return float(np.mean(np.logaddexp(0, u) - smooth * u)), (np.exp(-np.logaddexp(0, -u)) - smooth)[:, None]

    temperature, biases = _scaled(loss, z[:, None], scaled=method == "platt")
    return temperature, float(biases[0])


def _together(method: str, measured: Measured) -> Calibration:
    """One temperature and a bias for each of exclusive classes."""
    targets, logits = measured.targets, measured.logits
    known = ~np.isnan(targets).any(axis=1) & ~np.isnan(logits).any(axis=1)
    y, z = targets[known].astype(np.float64), logits[known].astype(np.float64)
    images, classes = len(y), targets.shape[1]
    same = Calibration(np.ones(classes), np.zeros(classes), (method,) * classes)
    if method == "prior":
        return Calibration(same.temperatures, -measured.prior, same.methods)
    if method == "none" or len(np.unique(y.argmax(axis=1))) < 2:
        return same
    smooth = (y * images + 1) / (images + classes)

    def loss(scale: float, biases: Array) -> tuple[float, Array]:
        u = z * scale + biases
        log = np.logaddexp.reduce(u, axis=1)
        return float(np.mean(log - (smooth * u).sum(axis=1))), np.exp(u - log[:, None]) - smooth

    if method == "temperature":
        temperature = _minimum(lambda t: loss(1 / t, np.zeros(classes))[0])
        return Calibration(np.full(classes, temperature), same.biases, same.methods)
    temperature, biases = _scaled(loss, z, scaled=method == "platt")
    return Calibration(np.full(classes, temperature), biases - biases.mean(), same.methods)


def _scaled(loss: Any, z: Array, scaled: bool) -> tuple[float, Array]:
    """(temperature, biases) at the least loss; loss(scale, biases) gives it, and its slope by each shifted logit."""
    from scipy.optimize import minimize  # servers read this package and have no scipy

    def objective(x: Array) -> tuple[float, Array]:
        scale = float(np.exp(-x[0]))
        value, slope = loss(scale, x[1:])
        by_log = -float((slope * z).sum(axis=1).mean()) * scale
        return value, np.append(by_log if scaled else 0.0, slope.mean(axis=0))

    bounds = [(np.log(LOWEST), np.log(HIGHEST)) if scaled else (0.0, 0.0), *[(-FURTHEST, FURTHEST)] * z.shape[1]]
    x = minimize(
        objective,
        np.zeros(1 + z.shape[1]),
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"ftol": 1e-13, "gtol": 1e-8, "maxiter": 500},
    ).x
    return float(np.exp(x[0])), np.asarray(x[1:])


def _minimum(loss: Any) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: loss(float(np.exp(log))),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
