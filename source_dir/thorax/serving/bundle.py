"""The bundle: all that a server needs, in one folder. Written whole or not at all.

model.pt      weights, a plain state_dict (torch.load with weights_only=True reads it)
bundle.json   labels, network, preprocessing, thresholds, configuration, split hash, metrics, versions
split.csv     id, patient and part of every image the run saw
code/         inference.py and deployment.py, and the package they need
config.yaml   tells AWS's Ray Serve image what to start
"""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import thorax
from thorax import models
from thorax.data.images import Preprocessing
from thorax.errors import ThoraxError
from thorax.evaluation.calibration import temperatures_of
from thorax.files import source_file, write_whole
from thorax.labels import LabelSpace

VERSION = 1
WEIGHTS, DESCRIPTION, SPLIT, CODE, RAY, STAGE = (
    "model.pt",
    "bundle.json",
    "split.csv",
    "code",
    "config.yaml",
    ".partial",
)
#: What of source_dir travels with a bundle: the package without the trainer, and the serving entry points.
_SERVING = ("inference.py", "deployment.py", "thorax")
#: Numbers of replicas and their share of CPUs and GPUs are settings: THORAX_REPLICAS and so on, see
#: serving/settings.py.
_RAY = b"""applications:
  - name: thorax
    route_prefix: /
    import_path: deployment:app
"""
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "training", "_source")


@dataclass(frozen=True)
class Bundle:
    """What bundle.json says.

    Attributes:
        folder: where the bundle is.
        network, dropout: how to build the network.
        space: label names and task.
        preprocessing: how images are prepared.
        thresholds: by output name, calibrated probabilities in 0..1.
        about: everything else: configuration, split hash, metrics, versions; calibration (see `temperatures`) and
            images (see data/typical.py) or None.
    """

    folder: Path
    network: str
    space: LabelSpace
    preprocessing: Preprocessing
    thresholds: dict[str, float]
    about: dict[str, Any]
    dropout: float = 0.0

    @property
    def temperatures(self) -> np.ndarray:
        """(L,) float64: what each logit is divided by before sigmoid or softmax, from calibration: {output.

        {"temperature": t}}.
        """
        return temperatures_of(self.about.get("calibration") or {}, self.space)

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Raises ThoraxError where the folder is no bundle, or one of a newer version."""
        file = folder / DESCRIPTION
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if stored["version"] > VERSION:
                raise ThoraxError(
                    f"{file} has version {stored['version']}, this program reads up to {VERSION}; update it"
                )
            preprocessing = Preprocessing.from_dict(stored["preprocessing"])
            if preprocessing.fingerprint() != stored["preprocessing_fingerprint"]:
                raise ValueError("its preprocessing was changed by hand")
            bundle = cls(
                folder,
                stored["network"]["name"],
                LabelSpace.from_dict(stored["labels"]),
                preprocessing,
                stored["thresholds"],
                {key: stored[key] for key in ("configuration", "split", "metrics", "versions")}
                | {key: stored.get(key) for key in ("calibration", "films")},
                stored["network"]["dropout"],
            )
            temperatures_of(bundle.about["calibration"] or {}, bundle.space)  # raises where it has another form
            return bundle
        except FileNotFoundError:
            raise ThoraxError(
                f"{folder} is not a bundle: it has no {DESCRIPTION}; name the model folder of a finished job"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ThoraxError(f"{file} is damaged ({error}); take the bundle from the job again") from None

    def build_network(self) -> nn.Module:
        """The network with the bundle's weights, on the CPU, in evaluation mode.

        Raises:
            ThoraxError: the weights are missing or do not fit.
        """
        net = models.build(self.network, self.preprocessing.channels, len(self.space.outputs), self.dropout)
        if adapted := models.load_weights(
            net, self.folder / WEIGHTS
        ):  # right for fine-tuning; here it would be another network
            raise ThoraxError(
                f"{self.folder / WEIGHTS} does not fit {DESCRIPTION} ({'; '.join(adapted)}); take the bundle from the"
                " job again"
            )
        return net.eval()


def check_folder(folder: Path) -> None:
    """Refuses a folder in which a bundle would overwrite files that are not a bundle's, before hours are spent.

    Raises:
        ThoraxError: it has such files.
    """
    if (folder / DESCRIPTION).exists() or (folder / STAGE).exists():
        return
    if taken := [name for name in (WEIGHTS, SPLIT, CODE, RAY) if (folder / name).exists()]:
        raise ThoraxError(
            f"--model-dir {folder} holds {', '.join(taken)} but is no bundle, and they would be overwritten; choose"
            " another folder"
        )


def write_bundle(
    folder: Path,
    net: nn.Module,
    *,
    network: str,
    dropout: float,
    space: LabelSpace,
    preprocessing: Preprocessing,
    thresholds: dict[str, float],
    about: dict[str, Any],
    split: str,
    source_dir: Path | None = None,
) -> None:
    """Writes the bundle: everything into a hidden folder first, bundle.json last of all.

    Raises:
        ThoraxError: the folder cannot be written or the disk is full; then there is no bundle.json.
    """
    stage = folder / STAGE
    description = {
        "version": VERSION,
        "network": {"name": network, "dropout": dropout},
        "labels": space.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "preprocessing_fingerprint": preprocessing.fingerprint(),
        "thresholds": thresholds,
        **about,
        "versions": {"thorax": thorax.__version__, "torch": torch.__version__},
    }
    weights = io.BytesIO()
    torch.save({key: value.detach().cpu().contiguous() for key, value in net.state_dict().items()}, weights)
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        write_whole(weights.getbuffer(), stage / WEIGHTS, "bundle")
        write_whole(split.encode(), stage / SPLIT, "bundle")
        write_whole(_RAY, stage / RAY, "bundle")
        (stage / CODE).mkdir()
        for name in _SERVING:
            source = source_dir / name if source_dir else source_file(name)
            if source.is_dir():
                shutil.copytree(source, stage / CODE / name, ignore=_LEFT_OUT)
            else:
                shutil.copyfile(source, stage / CODE / name)
        (folder / DESCRIPTION).unlink(missing_ok=True)
        shutil.rmtree(folder / CODE, ignore_errors=True)
        for part in (WEIGHTS, SPLIT, RAY, CODE):
            (stage / part).replace(folder / part)
        write_whole(json.dumps(description, indent=1).encode(), folder / DESCRIPTION, "bundle")
    except (OSError, shutil.Error) as error:
        raise ThoraxError(
            f"the bundle cannot be saved in {folder}: {error.strerror or error}; free some space or make it writable"
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
