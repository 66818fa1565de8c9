"""From a request's bytes to an answer's, the same on every server: read, prepare, score, write."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from thorax.data.images import UnreadableFilm
from thorax.errors import ThoraxError
from thorax.serving import content, replies
from thorax.serving.classifier import Classifier
from thorax.serving.content import Options, Refused, Request
from thorax.serving.replies import Prediction, Reply
from thorax.serving.settings import Settings

#: Prepared films (height, width) uint8 -> probabilities (N, L). A server that makes batches of many requests has its own.
Score = Callable[[Sequence[np.ndarray]], np.ndarray]


def answer(
    classifier: Classifier, body: bytes, content_type: str | None, accept: str | None = None, *,
    options: Options | None = None, settings: Settings | None = None, score: Score | None = None,
) -> Reply:  # fmt: skip
    """Answers one request; whatever is wrong with it becomes a reply of its own, in one line and without a traceback.

    Args:
        classifier: who scores.
        body, content_type, accept: the request's.
        options: from its query and headers.
        settings: limits; default: the defaults.
        score: default: the classifier's own, at once.
    """
    try:
        form = replies.chosen(accept)
        request = content.read(body, content_type, settings or Settings(), options)
        return replies.write(predict(classifier, request, score), form)
    except Refused as error:
        return refusal(error.status, str(error))
    except ThoraxError as error:
        return refusal(400, str(error))


def predict(classifier: Classifier, request: Request, score: Score | None = None) -> Prediction:
    """Prepares and scores the films of a request; a film that cannot be read never fails the others."""
    films = [prepared(classifier, film, f"film {k}" if request.several else "the film") for k, film in enumerate(request.films)]
    good = [film for film in films if isinstance(film, np.ndarray)]
    rows = iter((score or (lambda some: classifier.score(np.stack(some))))(good) if good else ())
    return Prediction(classifier, request, films, [film if isinstance(film, UnreadableFilm) else next(rows) for film in films])


def prepared(classifier: Classifier, film: bytes | np.ndarray | UnreadableFilm, name: str) -> np.ndarray | UnreadableFilm:
    try:
        return film if isinstance(film, UnreadableFilm) else classifier.prepare(film, name)
    except UnreadableFilm as error:
        return error


def refusal(status: int, message: str) -> Reply:
    """{"error": one line}."""
    return Reply(status, replies.JSON, replies._dumped({"error": " ".join(message.split())}))
