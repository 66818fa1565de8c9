"""Sends training jobs, searches and endpoints to Amazon SageMaker, or runs them on this machine.

>>> from thorax_launch import Recipe, local, sagemaker
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax_launch import local, sagemaker
    from thorax_launch.recipe import Recipe

__all__ = ["Recipe", "local", "sagemaker"]


def __getattr__(name: str) -> Any:  # each is imported when it is first used, so that `thorax --help` is instant
    if name == "Recipe":
        return import_module("thorax_launch.recipe").Recipe
    if name in __all__:
        return import_module(f"thorax_launch.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
