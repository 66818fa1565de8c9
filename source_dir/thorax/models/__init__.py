"""Networks: one entry each in `MODELS`; built, frozen, loaded with weights, fused, explained by heat maps.

torch is imported with the first function that needs it, not with this package: the configuration only reads names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from thorax.models.registry import MODELS, ModelSpec, names, spec_of, stages

if TYPE_CHECKING:
    from thorax.models.building import build, check
    from thorax.models.distributed_batchnorm import sync_batchnorm
    from thorax.models.freezing import freeze, freeze_batchnorm, train_mode
    from thorax.models.fuse import fuse_batchnorm
    from thorax.models.gradcam import heat_maps
    from thorax.models.weights import check_weights, find_weights, fit_weights, load_weights

__all__ = [
    "MODELS",
    "ModelSpec",
    "build",
    "check",
    "check_weights",
    "find_weights",
    "fit_weights",
    "freeze",
    "freeze_batchnorm",
    "fuse_batchnorm",
    "heat_maps",
    "load_weights",
    "names",
    "spec_of",
    "stages",
    "sync_batchnorm",
    "train_mode",
]

#: The file of each function that needs torch.
_FILES = {
    "build": "building",
    "check": "building",
    "check_weights": "weights",
    "find_weights": "weights",
    "fit_weights": "weights",
    "freeze": "freezing",
    "freeze_batchnorm": "freezing",
    "fuse_batchnorm": "fuse",
    "heat_maps": "gradcam",
    "load_weights": "weights",
    "sync_batchnorm": "distributed_batchnorm",
    "train_mode": "freezing",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
