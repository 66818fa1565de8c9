"""The engine openvino: Intel's runtime, which computes int8, bfloat16 and float32 on any x86 or ARM CPU. No torch.

A network is compiled for fixed numbers of images: for a batch that is left open OpenVINO has no int8 convolutions.
"""

from __future__ import annotations

import threading
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thorax.data.images import Preprocessing
from thorax.errors import ThoraxError
from thorax.serving.engines.engine import AUTO, Candidates, EngineRequest

if TYPE_CHECKING:
    from thorax.serving.bundle import Bundle

#: Numbers of images that a network is compiled for, the largest first. More than 4 at once gain nothing (docs/hosting).
SIZES = (4, 1)
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
INSTALL = "pip install 'thorax-sagemaker[openvino]'"


def installed() -> bool:
    """Whether openvino can be imported."""
    return find_spec("openvino") is not None


@cache
def core() -> Any:
    """OpenVINO's Core of this process.

    Raises:
        ThoraxError: it is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise ThoraxError(f"engine=openvino needs OpenVINO: {INSTALL}") from None
    return openvino.Core()


class OpenVinoEngine:
    """See Engine.

    Args:
        model: an .xml file with its .bin, or an openvino.Model; from (N, C, H, W) float32 to (N, L).
        preprocessing: of the images.
        precision: int8 for a quantised model; else what a float model is computed in.
        request: threads and passes.
    """

    name, device, waits = "openvino", "cpu", False

    def __init__(self, model: Any, preprocessing: Preprocessing, precision: str, request: EngineRequest) -> None:
        self.precision, self._preprocessing = precision, preprocessing
        self._sizes = [size for size in SIZES if size <= request.batch]
        self.batch = self._sizes[0]
        options = {
            "NUM_STREAMS": request.passes,
            "INFERENCE_NUM_THREADS": request.threads * request.passes,
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "ENABLE_CPU_PINNING": False,  # other replicas and readers work on these CPUs too
        }
        self._compiled = {}
        for size in self._sizes:
            read = core().read_model(model) if isinstance(model, Path) else model.clone()
            read.reshape([size, preprocessing.channels, preprocessing.height, preprocessing.width])
            self._compiled[size] = core().compile_model(read, "CPU", options)
        self._per_thread = threading.local()

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, L) float32 of prepared images; see Engine."""
        rows, begin = [], 0
        for size in self._sizes:
            while len(images) - begin >= size:
                x = images[begin : begin + size]
                x = np.ascontiguousarray(x if x.dtype == np.float32 else self._preprocessing.array(x))
                rows.append(self._request(size).infer([x], share_inputs=True)[0].copy())
                begin += size
        return np.concatenate(rows)

    def _request(self, size: int) -> Any:
        """This thread's own request for `size` images."""
        requests = self._per_thread.__dict__
        if str(size) not in requests:
            requests[str(size)] = self._compiled[size].create_infer_request()
        return requests[str(size)]


def prepared(bundle: Bundle) -> bool:
    """Whether the bundle holds OpenVINO's files and OpenVINO is installed."""
    return bundle.engine is not None and bundle.engine.name == OpenVinoEngine.name and installed()


def candidates(bundle: Bundle, request: EngineRequest) -> Candidates:
    """int8 where the bundle holds it; bfloat16 where the CPU has it, and float32, from its files or its weights.

    Raises:
        ThoraxError: OpenVINO is not installed, or int8 is asked for and the bundle holds none.
    """
    core()
    stored = bundle.engine if bundle.engine is not None and bundle.engine.name == OpenVinoEngine.name else None
    found: Candidates = {}
    if stored is not None and request.takes(stored.precision):
        found[stored.precision] = lambda: OpenVinoEngine(
            stored.model(bundle.folder, bundle.version), bundle.preprocessing, stored.precision, request
        )
    if request.precision == "int8" and not found:
        raise ThoraxError(
            f"precision=int8 needs a quantised network, and {bundle.folder} holds none; run: thorax optimize"
            f" {bundle.folder} --data IMAGES"
        )
    if "int8" in found and request.precision == AUTO:
        return found
    has_bfloat16 = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    float_model: Any = cache(partial(converted, bundle))  # once for all candidates
    if stored is not None and stored.precision == "float32":
        float_model = partial(stored.model, bundle.folder, bundle.version)
    for precision, possible in (("bfloat16", has_bfloat16 or request.precision == "bfloat16"), ("float32", True)):
        if possible and request.takes(precision):
            found[precision] = partial(_float_engine, float_model, bundle.preprocessing, precision, request)
    return found


def _float_engine(model: Any, preprocessing: Preprocessing, precision: str, request: EngineRequest) -> OpenVinoEngine:
    return OpenVinoEngine(model(), preprocessing, precision, request)


def converted(bundle: Bundle) -> Any:
    """The openvino.Model of a bundle's network in float32, for any number of images; takes seconds, and torch."""
    import openvino
    import torch

    from thorax.models import fuse_batchnorm

    images = bundle.preprocessing
    shape = (images.channels, images.height, images.width)
    net = fuse_batchnorm(bundle.build_network(), shape)
    model = openvino.convert_model(net, example_input=torch.zeros(1, *shape))
    model.reshape([-1, *shape])
    return model
