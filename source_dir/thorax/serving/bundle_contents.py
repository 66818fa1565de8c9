"""What bundle.json holds."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import thorax
from thorax.data.images import Preprocessing
from thorax.data.views import Views
from thorax.evaluation.calibration import Calibration
from thorax.labels import LabelSpace
from thorax.serving.bundle_hashes import FILES, sealed
from thorax.serving.engines.engine_files import EngineFiles

#: What this program reads, at most. 3 is an ensemble; 2 has biases in its calibration; else a bundle is of version 1.
VERSION = 3


def _versions() -> dict[str, str]:
    return {"thorax": thorax.__version__, "torch": torch_version()}


def torch_version() -> str:
    """The version of torch that is installed, which is not imported for it; "" without torch."""
    if torch := sys.modules.get("torch"):
        return str(torch.__version__)  # with the build, such as +cu128
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """What bundle.json holds.

    Attributes:
        network, dropout: how the network is built.
        space: label names and task.
        preprocessing: how images are prepared.
        thresholds: by label, calibrated probabilities in 0..1 at or above which it is found.
        configuration: the run's configuration, by hyperparameter.
        split: {"sha256", "counts"} of the parts of the data.
        compute: {"precision", "channels_last", "threads"} that the run computed with; empty in older bundles.
        metrics: scores by part ("validation", "test"), as evaluation.metrics.score returns them, and facts of the best
            epoch.
        calibration: {label: {"temperature": t, "bias": b, "method": name}}, or None; see `calibrator`.
        typical_images: what the training images look like, see OutOfDistributionDetector, or None.
        training_data: prevalence, view, sex and age of the training images (evaluation.population.describe), or None.
        versions: of the packages that made the bundle.
        engine: files of an optimized network, or None.
        ensemble: {"members": their folders in the bundle, "fitted_on": what its calibration and thresholds are from,
            "limits": {label: standard deviation above which members disagree}}; None for a bundle of one network.
        files: SHA-256 of the bundle's other files by their paths, as they were written; empty in older bundles.
    """

    network: str
    dropout: float = 0.0
    space: LabelSpace
    preprocessing: Preprocessing
    thresholds: dict[str, float]
    configuration: dict[str, Any] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    compute: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] | None = None
    typical_images: dict[str, Any] | None = None
    training_data: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=_versions)
    engine: EngineFiles | None = None
    ensemble: dict[str, Any] | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the L probabilities; of two exclusive classes the positive one alone."""
        return self.space.outputs

    @property
    def views(self) -> Views:
        """How each image is looked at: the configuration's `tta`; of older bundles the image alone.

        Raises:
            ThoraxError: it is no number of views.
        """
        return Views.of(None, self.configuration)

    @property
    def calibrator(self) -> Calibration:
        """How logits become probabilities."""
        return Calibration.from_dict(self.calibration or {}, self.space)

    @property
    def format_version(self) -> int:
        """The lowest version of the format that says all of this."""
        return 3 if self.ensemble else 2 if any("bias" in entry for entry in (self.calibration or {}).values()) else 1

    def to_dict(self) -> dict[str, Any]:
        """What is stored as bundle.json, sealed where the hashes of the files are known."""
        described = {
            "version": self.format_version,
            "network": {"name": self.network, "dropout": self.dropout},
            "labels": self.space.to_dict(),
            "preprocessing": self.preprocessing.to_dict(),
            "preprocessing_fingerprint": self.preprocessing.fingerprint(),
            "thresholds": self.thresholds,
            "configuration": self.configuration,
            "split": self.split,
            **({"compute": self.compute} if self.compute else {}),
            "metrics": self.metrics,
            "calibration": self.calibration,
            "films": self.typical_images,
            **({"training_data": self.training_data} if self.training_data else {}),
            "versions": self.versions,
            **({"engine": self.engine.to_dict()} if self.engine else {}),
            **({"ensemble": self.ensemble} if self.ensemble else {}),
        }
        return sealed({**described, FILES: self.files}) if self.files else described
