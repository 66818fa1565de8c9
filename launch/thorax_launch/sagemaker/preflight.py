"""What a job would refuse hours of queueing later: its configuration, its weights and its listings, checked here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from thorax.config import TrainingConfig
from thorax.config.pretrained import check_weights_given
from thorax.errors import ThoraxError
from thorax_launch.recipe import Recipe
from thorax_launch.sagemaker.machines import gpu_count, kinds
from thorax_launch.sagemaker.package import images

#: Where SageMaker puts channels, in the container.
_CONTAINER = "/opt/ml/"


def notes(recipe: Recipe, channels: Mapping[str, str], hyperparameters: Mapping[str, str], processes: int) -> list[str]:
    """Lines for the person: warnings of the configuration, of the weights and of the folders that would be uploaded.

    Args:
        channels: name -> folder, file or s3:// address; what is in S3 already is not looked at.
        processes: per machine; 0: one per GPU.

    Raises:
        ThoraxError: what the job would refuse.
    """
    config = TrainingConfig.parse(dict(hyperparameters))
    _check_weights(config, channels)
    here = {name: Path(path) for name, path in channels.items() if "://" not in path}
    for name, path in here.items():
        images(f"--{name}", path, contents=False)
    from thorax import preflight  # late: imports torch

    found = [f"warning: {line}" for line in config.warnings] + preflight.check_network(config)
    weights = next((here[name] for name in ("weights", "model") if name in channels and name in here), None)
    if weights is not None and not config.weights:
        preflight.check_weights(config, weights)
    read = {name: path for name, path in here.items() if name not in ("weights", "model")}
    lists_in_s3 = any(name.endswith("_lst") for name in channels.keys() - here.keys())
    if "train" in read and not lists_in_s3:
        each = max(processes or gpu_count(kind) or 1 for kind in kinds(recipe.instance_type))
        found += preflight.check_listing(config, read, each * recipe.instance_count)
    return [f"note:     {line.removeprefix('warning: ')}" for line in found]


def _check_weights(config: TrainingConfig, channels: Mapping[str, str]) -> None:
    check_weights_given(config, channels)
    place = config.weights or ""
    if "://" in place or (place and not place.startswith(_CONTAINER) and Path(place).exists()):
        raise ThoraxError(
            f"weights={place} would be looked for in the container; give it as a channel: --weights {place}"
        )
