"""Thorax: chest X-ray classifiers with PyTorch, on Amazon SageMaker and on a laptop.

The public names are imported when they are first used: `import thorax` alone is fast and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax.config import TrainingConfig
    from thorax.errors import ThoraxError
    from thorax.run import train
    from thorax.scoring import compare_runs, evaluate
    from thorax.serving.bundle import Bundle
    from thorax.serving.classifier import Classifier

__all__ = ["Bundle", "Classifier", "ThoraxError", "TrainingConfig", "__version__", "compare_runs", "evaluate", "train"]
__version__ = "0.2.0"

_HOMES = {
    "Bundle": "thorax.serving.bundle",
    "Classifier": "thorax.serving.classifier",
    "ThoraxError": "thorax.errors",
    "TrainingConfig": "thorax.config",
    "compare_runs": "thorax.scoring",
    "evaluate": "thorax.scoring",
    "train": "thorax.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'thorax' has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
