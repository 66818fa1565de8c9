"""Post-training quantisation to int8 by NNCF, and which layers it hurts most."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from thorax.errors import ThoraxError

_LAYERS = ("Convolution", "GroupConvolution", "MatMul")
_SUMS = ("Add",)  # of residual blocks, with rounded inputs
_PASSED_THROUGH = ("MaxPool", "Relu", "Reshape", "Squeeze", "Transpose")
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
        float_layers: names of layers that stay in float32, beside the first and the last one.

    Returns:
        Weights by channel, activations by tensor. The first and the last layer stay in float32: they cost little, and
        the rounding of images and logits moves the answers most. Each layer's bias is corrected by the mean error that
        the rounding of all layers before it leaves (Nagel et al. 2019, "Data-free quantization through weight
        equalization and bias correction").
    """
    import nncf

    logging.getLogger("nncf").setLevel(logging.ERROR)
    ignored = nncf.IgnoredScope(names=sorted({*ends(model), *float_layers}))
    return nncf.quantize(
        model.clone(),
        nncf.Dataset([image[None] for image in x]),
        subset_size=len(x),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=ignored,
        fast_bias_correction=False,  # of each layer by itself: the largest difference is a third larger
    )


def ends(model: Any) -> list[str]:
    """Names of the first and the last layer with weights of a float32 model."""
    names = [op.get_friendly_name() for op in model.get_ordered_ops() if _weights(op) is not None]
    return [names[0], names[-1]]


def layers_by_harm(model: Any, int8: Any, x: np.ndarray) -> list[str]:
    """Names of the layers, first those whose rounding moves the network's output most.

    Each layer in turn gets its float32 weights and its inputs as they are before rounding; what that brings the output
    nearer to the float32 model's is the harm that the rounding does.

    Args:
        model, int8: the float32 model, and the same quantised.
        x: (M, C, H, W) float32 to compare the outputs on.
    """
    from openvino import opset13

    exact = _outputs(model, x)
    weights = {
        op.get_friendly_name(): constant for op in model.get_ordered_ops() if (constant := _weights(op)) is not None
    }
    left: dict[str, float] = {}
    layers = [op for op in int8.get_ordered_ops() if op.get_type_name() in (*_LAYERS, *_SUMS) and _rounded_inputs(op)]
    for name in [op.get_friendly_name() for op in layers]:
        clone = int8.clone()
        layer = next(op for op in clone.get_ordered_ops() if op.get_friendly_name() == name)
        for place in _rounded_inputs(layer):
            place.replace_source_output(place.get_source_output().get_node().input_value(0))
        if name in weights:
            layer.input(1).replace_source_output(opset13.constant(weights[name]).output(0))
        left[name] = float(np.abs(_outputs(clone, x) - exact).mean())
    return sorted(left, key=lambda name: left[name])


def _weights(op: Any) -> np.ndarray | None:
    """The weights of a convolution or dense layer of a float32 model; None for another operation."""
    if op.get_type_name() not in _LAYERS:
        return None
    node = op.input_value(1).get_node()
    return np.array(node.data) if node.get_type_name() == "Constant" else None


def _rounded_inputs(op: Any) -> list[Any]:
    """Where a FakeQuantize rounds what an operation takes in: its own inputs, or those of pooling before it.

    Weights are stored as int8 and are not among them.
    """
    found = []
    for place in op.inputs():
        node = place.get_source_output().get_node()
        if node.get_type_name() == "FakeQuantize":
            found.append(place)
        elif node.get_type_name() in _PASSED_THROUGH:
            found += _rounded_inputs(node)
    return found


def _outputs(model: Any, x: np.ndarray) -> np.ndarray:
    """(M, L) logits."""
    from thorax.serving.engines.openvino_engine import core

    clone = model.clone()
    clone.reshape([1, *x.shape[1:]])
    request = core().compile_model(clone, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    return np.concatenate([request.infer([image[None]])[0].copy() for image in x])
