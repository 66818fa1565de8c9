"""From a request's bytes to an answer's, the same on every server: read, prepare, score, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from thorax.data.images import DecodeError
from thorax.errors import ThoraxError
from thorax.serving import readers, writers
from thorax.serving.classifier import Classifier
from thorax.serving.readers import InferenceRequest, RequestError, ResponseOptions
from thorax.serving.settings import ServerSettings
from thorax.serving.writers import Prediction, Reply

#: Prepared images (height, width) uint8 -> probabilities (N, L). A server that makes batches of many requests has its
#: own.
Score = Callable[[Sequence[np.ndarray]], np.ndarray]


def answer(
    classifier: Classifier,
    body: bytes,
    content_type: str | None,
    accept: str | None = None,
    *,
    options: ResponseOptions | None = None,
    settings: ServerSettings | None = None,
    score: Score | None = None,
) -> Reply:
    """Answers one request; whatever is wrong with it becomes a reply of its own, in one line and without a traceback.

    Args:
        classifier: who scores.
        body, content_type, accept: the request's.
        options: from its query and headers.
        settings: limits; default: the defaults.
        score: default: the classifier's own, at once.
    """
    try:
        form = writers.chosen(accept)
        request = readers.read(body, content_type, settings or ServerSettings(), options)
        return writers.write(predict(classifier, request, score), form)
    except RequestError as error:
        return refusal(error.status, str(error))
    except ThoraxError as error:
        return refusal(400, str(error))


def predict(classifier: Classifier, request: InferenceRequest, score: Score | None = None) -> Prediction:
    """Prepares and scores the images of a request; an image that cannot be read never fails the others."""
    images = [
        prepared(classifier, image, f"image {k}" if request.several else "the image")
        for k, image in enumerate(request.images)
    ]
    good = [image for image in images if isinstance(image, np.ndarray)]
    rows = iter((score or (lambda some: classifier.score(np.stack(some))))(good) if good else ())
    return Prediction(
        classifier, request, images, [image if isinstance(image, DecodeError) else next(rows) for image in images]
    )


def prepared(classifier: Classifier, image: bytes | np.ndarray | DecodeError, name: str) -> np.ndarray | DecodeError:
    try:
        return image if isinstance(image, DecodeError) else classifier.prepare(image, name)
    except DecodeError as error:
        return error


def refusal(status: int, message: str) -> Reply:
    """{"error": one line}."""
    return Reply(status, writers.JSON, writers._dumped({"error": " ".join(message.split())}))
