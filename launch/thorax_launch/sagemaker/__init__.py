"""Thorax on Amazon SageMaker, from Python: jobs, searches and endpoints.

Everything here is imported when it is used, so that importing the package stays fast.

Example:
    >>> from thorax_launch import sagemaker
    >>> with sagemaker.train("pneumonia-resnet18", {"train": "images/train"}) as job:
    ...     job.wait()
    >>> with sagemaker.deploy(job.bundle, "chest") as endpoint:
    ...     endpoint.predict(["a.png", "b.dcm"])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax_launch.sagemaker.account import load_settings as load_settings
    from thorax_launch.sagemaker.attaching import attach as attach
    from thorax_launch.sagemaker.endpoints import Endpoint as Endpoint
    from thorax_launch.sagemaker.endpoints import deploy as deploy
    from thorax_launch.sagemaker.folds import FoldJobs as FoldJobs
    from thorax_launch.sagemaker.folds import attach_folds as attach_folds
    from thorax_launch.sagemaker.folds import cross_validate as cross_validate
    from thorax_launch.sagemaker.jobs import TrainingJob as TrainingJob
    from thorax_launch.sagemaker.jobs import request as request
    from thorax_launch.sagemaker.jobs import train as train
    from thorax_launch.sagemaker.search import TuningJob as TuningJob
    from thorax_launch.sagemaker.search import tune as tune
    from thorax_launch.settings import AwsSettings as AwsSettings

_HOMES = {
    "AwsSettings": "thorax_launch.settings",
    "Endpoint": "thorax_launch.sagemaker.endpoints",
    "FoldJobs": "thorax_launch.sagemaker.folds",
    "attach_folds": "thorax_launch.sagemaker.folds",
    "cross_validate": "thorax_launch.sagemaker.folds",
    "TrainingJob": "thorax_launch.sagemaker.jobs",
    "TuningJob": "thorax_launch.sagemaker.search",
    "attach": "thorax_launch.sagemaker.attaching",
    "deploy": "thorax_launch.sagemaker.endpoints",
    "load_settings": "thorax_launch.sagemaker.account",
    "request": "thorax_launch.sagemaker.jobs",
    "train": "thorax_launch.sagemaker.jobs",
    "tune": "thorax_launch.sagemaker.search",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
