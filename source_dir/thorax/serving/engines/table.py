"""The entries of ENGINES; their code, and torch or OpenVINO with it, is imported when it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thorax.serving.engines.engine import ENGINES, Candidates, EngineRequest, EngineSpec

if TYPE_CHECKING:
    from thorax.serving.bundle import Bundle


def _torch(bundle: Bundle, request: EngineRequest) -> Candidates:
    from thorax.serving.engines.torch_engine import candidates

    return candidates(bundle, request)


def _openvino(bundle: Bundle, request: EngineRequest) -> Candidates:
    from thorax.serving.engines.openvino_engine import candidates

    return candidates(bundle, request)


def _openvino_prepared(bundle: Bundle) -> bool:
    from thorax.serving.engines.openvino_engine import prepared

    return prepared(bundle)


ENGINES.register("torch", EngineSpec(lambda bundle: False, _torch, "the network as it was trained; CPU and GPU"))
ENGINES.register("openvino", EngineSpec(_openvino_prepared, _openvino, "OpenVINO; CPU; int8 after `thorax optimize`"))
