"""Many images through a bundle: `evaluate` scores it on labelled images, `predict_folder` writes one table of a folder.

The names are imported when they are first used, so that `python -m thorax.scoring --help` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax.scoring.batch import BatchOptions, predict_folder, read_outputs
    from thorax.scoring.evaluation import Evaluation, EvaluationOptions, evaluate, run_evaluation

__all__ = [
    "BatchOptions",
    "Evaluation",
    "EvaluationOptions",
    "evaluate",
    "predict_folder",
    "read_outputs",
    "run_evaluation",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    module = "batch" if name in ("BatchOptions", "predict_folder", "read_outputs") else "evaluation"
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
