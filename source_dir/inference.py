"""SageMaker's four serving functions over one Classifier."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from thorax.errors import ThoraxError
from thorax.serving.classifier import Classifier

INPUTS = ("image/jpeg", "image/png", "application/x-image", "application/octet-stream")


def model_fn(model_dir: str, context: Any = None) -> Classifier:
    """The classifier of the bundle in `model_dir`."""
    return Classifier.load(model_dir)


def input_fn(request_body: bytes | bytearray, content_type: str | None = None) -> bytes:
    """The bytes of one JPEG or PNG film.

    Raises:
        ThoraxError: another content type.
    """
    kind = (content_type or "application/octet-stream").split(";")[0].strip().lower()
    if kind not in INPUTS:
        raise ThoraxError(f"content type {kind} is not one of {', '.join(INPUTS)}")
    return bytes(request_body)


def predict_fn(data: bytes, model: Classifier) -> np.ndarray:
    """(1, L) float32 probabilities; raises UnreadableFilm for a film that cannot be read."""
    return model.predict([data])


def output_fn(prediction: np.ndarray, accept: str | None = "application/json") -> tuple[str, str]:
    """The probabilities of the one film as a JSON list, as the built-in algorithm answers."""
    kinds = {kind.split(";")[0].strip().lower() for kind in (accept or "*/*").split(",")}
    if not kinds & {"application/json", "*/*", "application/*"}:
        raise ThoraxError(f"Accept {accept} cannot be given; ask for application/json")
    return json.dumps([round(float(p), 6) for p in prediction[0]]), "application/json"
