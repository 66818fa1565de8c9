"""What is predicted for a request, and the reply that carries it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.data.images import DecodeError
from thorax.errors import ThoraxError
from thorax.serving.classifier import Classifier
from thorax.serving.request import InferenceRequest, RequestError
from thorax.serving.settings import ServerSettings

#: Statuses that are about the image, which the next try cannot change.
_IMAGE_ERRORS = (400, 413, 415)


@dataclass(frozen=True)
class Prediction:
    """A request with the probabilities of its images: what a writer encodes.

    Attributes:
        classifier: the classifier that scored the images: labels, thresholds, heat maps.
        request: the request, with its options.
        images: (height, width[, 3]) uint8 each, as the network sees them, or why an image cannot be read.
        rows: (L,) float32 probabilities each, or the same reason.
    """

    classifier: Classifier
    request: InferenceRequest
    images: list[np.ndarray | DecodeError]
    rows: list[np.ndarray | DecodeError]

    def source(self, k: int) -> Any:
        """What image k was prepared from; None where that is a part of something larger."""
        return self.request.images[k] if len(self.request.images) == len(self.images) else None


@dataclass(frozen=True)
class Reply:
    """An HTTP response: status, content type without parameters, and body."""

    status: int
    content_type: str
    body: bytes


def error_reply(status: int, message: str) -> Reply:
    """The reply {"error": message}, the message on one line."""
    return Reply(status, "application/json", dump_json({"error": " ".join(message.split())}))


def refusal(error: ThoraxError, settings: ServerSettings) -> Reply:
    """The reply to a request that cannot be answered: its status, 400 where it has none; in a batch job 200."""
    status = error.status if isinstance(error, RequestError) else 400
    return error_reply(200 if settings.batch_job and status in _IMAGE_ERRORS else status, str(error))


def dump_json(value: Any) -> bytes:
    """JSON in UTF-8, letters of every alphabet as they are."""
    return json.dumps(value, ensure_ascii=False).encode()
