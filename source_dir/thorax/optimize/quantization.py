"""Post-training quantisation to int8 by NNCF, and which layers it hurts most."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from thorax.errors import ThoraxError

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
INSTALL = "pip install 'thorax-sagemaker[optimize]'"


def check_installed(what: str) -> None:
    """Raises ThoraxError where `what` (a flag or hyperparameter) needs a package that is not installed."""
    for package in ("openvino", "nncf"):
        if find_spec(package) is None:
            raise ThoraxError(f"{what} needs {package}: {INSTALL}")


def quantized(model: Any, x: np.ndarray, float_layers: Sequence[str] = ()) -> Any:
    """The openvino.Model in int8, weights and activations.

    Args:
        model: an openvino.Model in float32, from (N, C, H, W).
        x: (M, C, H, W) float32 to calibrate on.
        float_layers: names of layers that stay in float32.
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    ignored = nncf.IgnoredScope(names=list(float_layers)) if float_layers else None
    return nncf.quantize(
        model.clone(),
        nncf.Dataset([image[None] for image in x]),
        subset_size=len(x),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=ignored,
    )


def layers_by_harm(model: Any, int8: Any, x: np.ndarray) -> list[str]:
    """Names of the layers, first those at which the difference between the two models grows most.

    Args:
        model, int8: the float32 model, and the same quantised.
        x: (M, C, H, W) float32 to compare the layers' outputs on.
    """
    (names, exact), (_, other) = _outputs(model, x), _outputs(int8, x)
    noise = [float(np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-9)) for a, b in zip(exact, other, strict=True)]
    growth = np.diff(noise, prepend=0.0)
    return [names[k] for k in np.argsort(-growth, kind="stable")]


def _outputs(model: Any, x: np.ndarray) -> tuple[list[str], list[np.ndarray]]:
    """Names of the layers in the order of computation, and their outputs for x, each flattened."""
    from thorax.serving.engines.openvino_engine import core

    clone = model.clone()
    layers = [op for op in clone.get_ordered_ops() if op.get_type_name() in _LAYERS]
    clone.add_outputs([op.output(0) for op in layers])
    clone.reshape([1, *x.shape[1:]])
    request = core().compile_model(clone, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    rows: list[list[np.ndarray]] = [[] for _ in layers]
    for image in x:
        request.infer([image[None]])
        for k, row in enumerate(rows):
            row.append(request.get_output_tensor(k + 1).data.ravel().copy())  # 0 is the model's own output
    return [op.get_friendly_name() for op in layers], [np.concatenate(row) for row in rows]
