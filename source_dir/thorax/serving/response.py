"""What is predicted for a request, and the reply that carries it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.data.images import DecodeError
from thorax.serving.classifier import Classifier
from thorax.serving.request import InferenceRequest


@dataclass(frozen=True)
class Prediction:
    """A request with the probabilities of its images: what a writer encodes.

    Attributes:
        classifier: the classifier that scored the images: labels, thresholds, heat maps.
        request: the request, with its options.
        images: (height, width) uint8 each, as the network sees them, or why an image cannot be read.
        rows: (L,) float32 probabilities each, or the same reason.
    """

    classifier: Classifier
    request: InferenceRequest
    images: list[np.ndarray | DecodeError]
    rows: list[np.ndarray | DecodeError]


@dataclass(frozen=True)
class Reply:
    """An HTTP response: status, content type without parameters, and body."""

    status: int
    content_type: str
    body: bytes


def error_reply(status: int, message: str) -> Reply:
    """The reply {"error": message}, the message on one line."""
    return Reply(status, "application/json", dump_json({"error": " ".join(message.split())}))


def dump_json(value: Any) -> bytes:
    """JSON in UTF-8, letters of every alphabet as they are."""
    return json.dumps(value, ensure_ascii=False).encode()
