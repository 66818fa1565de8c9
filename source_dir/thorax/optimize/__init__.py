"""An optimized network beside a bundle's own: `optimize_bundle` quantises it to int8 where its answers stay the same.

Imported when first used, so that `python -m thorax.optimize --help` imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thorax.optimize.bundles import OptimizedBundle, optimize_bundle

__all__ = ["OptimizedBundle", "optimize_bundle"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from thorax.optimize import bundles

    return getattr(bundles, name)
