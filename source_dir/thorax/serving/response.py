"""What is predicted for a request, and the reply that carries it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thorax.data.images import DecodeError
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.serving.classifier import Classifier
from thorax.serving.request import InferenceRequest, RequestError
from thorax.serving.settings import ServerSettings

#: Statuses that are about the image, which the next try cannot change.
_IMAGE_ERRORS = (400, 413, 415)
#: The folders of a path: the server's own are nobody else's business. Not of an address such as s3://bucket/key.
_FOLDERS = re.compile(
    r"(?<![\w/.~])(?:[A-Za-z]:|\.{1,2}|~\w*)?[/\\](?![/\\])(?:[^\s/\\:;,'\"()\[\]]+[/\\])+|(?<![\w/.~])(?:\.{1,2}|~)/"
)


@dataclass(frozen=True)
class Prediction:
    """A request with the probabilities of its images: what a writer encodes.

    Attributes:
        classifier: the classifier that scored the images: labels, thresholds, heat maps.
        request: the request, with its options.
        images: (height, width[, 3]) uint8 each, as the network sees them, or why an image cannot be read.
        rows: (L,) float32 probabilities each, or the same reason.
        draw: calls what makes a heat map; a server lets it wait for its turn.
        spreads: of an ensemble (L,) float32 each, the standard deviation of its members' probabilities; else None.
    """

    classifier: Classifier
    request: InferenceRequest
    images: list[np.ndarray | DecodeError]
    rows: list[np.ndarray | DecodeError]
    draw: Callable[[Callable[[], Any]], Any] = field(default=lambda heat_map: heat_map(), repr=False)
    spreads: Sequence[np.ndarray | None] = ()

    def source(self, k: int) -> Any:
        """What image k was prepared from; None where that is a part of something larger."""
        return self.request.images[k] if len(self.request.images) == len(self.images) else None

    @property
    def columns(self) -> tuple[str, ...]:
        """What the numbers of a bare answer are of."""
        return columns(self.classifier.bundle.space, self.request.binary_answer)

    @property
    def numbers(self) -> list[list[float] | None]:
        """Bare answers: for each image a probability for each of `columns`, to six decimals; None: not readable."""
        both = len(self.columns) > len(self.classifier.labels)
        return [None if isinstance(row, DecodeError) else bare(row, both) for row in self.rows]


def columns(space: LabelSpace, binary_answer: str) -> tuple[str, ...]:
    """What the numbers of a bare answer are of, in order.

    Args:
        space: of the classifier.
        binary_answer: see ServerSettings.

    Returns:
        Names of the labels; of two exclusive classes both, negative first, or with "positive" the positive one alone.
    """
    return space.outputs if binary_answer == "positive" else space.classes


def bare(row: np.ndarray, both: bool) -> list[float]:
    """(L,) probabilities as numbers of six decimals; with `both` [1 - p, p] of the one probability p."""
    numbers = [round(float(p), 6) for p in row]
    return [round(1 - numbers[0], 6), *numbers] if both else numbers


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
    return error_reply(200 if settings.batch_job and status in _IMAGE_ERRORS else status, without_folders(error))


def without_folders(error: Exception) -> str:
    """Its message, in which paths on this machine are their last names."""
    return _FOLDERS.sub("", str(error))


def dump_json(value: Any) -> bytes:
    """JSON in UTF-8, letters of every alphabet as they are; half a surrogate pair, which UTF-8 has not, becomes "?"."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")
