"""Many images through a bundle: `evaluate` scores it on labelled images, `predict_folder` writes one table of a folder.

The names are imported when they are first used, so that `python -m thorax.scoring --help` imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax.scoring.batch import predict_folder, read_outputs
    from thorax.scoring.compared.comparing import CompareOptions, RunComparison, compare_runs
    from thorax.scoring.ensembling import make_ensemble
    from thorax.scoring.evaluation import Evaluation, evaluate, run_evaluation
    from thorax.scoring.options import BatchOptions, EvaluationOptions

__all__ = [
    "BatchOptions",
    "CompareOptions",
    "Evaluation",
    "EvaluationOptions",
    "RunComparison",
    "compare_runs",
    "evaluate",
    "make_ensemble",
    "predict_folder",
    "read_outputs",
    "run_evaluation",
]
_MODULES = {
    "batch": ("predict_folder", "read_outputs"),
    "ensembling": ("make_ensemble",),
    "evaluation": ("Evaluation", "evaluate", "run_evaluation"),
    "options": ("BatchOptions", "EvaluationOptions"),
    "compared.comparing": ("CompareOptions", "RunComparison", "compare_runs"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
