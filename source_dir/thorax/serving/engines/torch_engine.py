"""The engine torch: the network as it was trained, batch norm folded, channels last, in float32 or bfloat16."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from thorax.machine import cpu_has_bfloat16
from thorax.models import fuse_batchnorm
from thorax.serving.bundle import Bundle
from thorax.serving.engines.engine import Candidates, EngineRequest


class TorchEngine:
    """See Engine.

    Args:
        bundle: whose preprocessing is applied.
        net: in float32 on the request's device, in evaluation mode and channels last.
        precision: float32 or bfloat16.
        request: threads and batch.
    """

    name, waits = "torch", True

    def __init__(self, bundle: Bundle, net: nn.Module, precision: str, request: EngineRequest) -> None:
        self.net = net if precision == "float32" else to_bfloat16(copy.deepcopy(net))
        self.precision, self.batch = precision, request.batch
        self._preprocessing, self._threads = bundle.preprocessing, request.threads
        self._device = request.device or torch.device("cpu")
        self.device = self._device.type
        self._per_thread = threading.local()

    @torch.inference_mode()
    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, L) float32 of prepared images; see Engine."""
        self._set_threads()
        pixels = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self._device)
        x = pixels if pixels.is_floating_point() else self._preprocessing.tensor(pixels)
        x = x.contiguous(memory_format=torch.channels_last)
        return np.asarray(self.net(x).float().cpu().numpy(), np.float32)

    def _set_threads(self) -> None:
        """Once per thread: OpenMP's number of threads belongs to the thread that calls it."""
        if self.device == "cpu" and not getattr(self._per_thread, "threads", 0):
            torch.set_num_threads(self._threads)
            self._per_thread.threads = self._threads


def candidates(bundle: Bundle, request: EngineRequest) -> Candidates:
    """float32 always; bfloat16 where the CPU has instructions for it (elsewhere it is emulated) or the GPU does."""
    device = request.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has_bfloat16()
    fused: list[nn.Module] = []  # once for all candidates

    def engine(precision: str) -> TorchEngine:
        if not fused:
            images = bundle.preprocessing
            net = fuse_batchnorm(bundle.build_network(), (images.channels, images.height, images.width))
            fused.append(net.to(device, memory_format=torch.channels_last))  # type: ignore[call-overload]
        return TorchEngine(bundle, fused[0], precision, replace(request, device=device))

    found: Candidates = {}
    if request.takes("float32"):
        found["float32"] = lambda: engine("float32")
    if request.precision == "bfloat16" or (request.takes("bfloat16") and supported):
        found["bfloat16"] = lambda: engine("bfloat16")
    return found


def to_bfloat16(net: nn.Module) -> nn.Module:
    """The network in bfloat16, but for its last layer: it still takes float32 images and returns float32 logits."""
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not linear:
        return net
    net = net.to(torch.bfloat16)
    linear[-1].float().register_forward_pre_hook(_to(torch.float32))
    net.register_forward_pre_hook(_to(torch.bfloat16))
    return net


def _to(dtype: torch.dtype) -> Any:
    return lambda module, inputs: (inputs[0].to(dtype),)
