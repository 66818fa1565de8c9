"""The way of a request, the same under every server:

    RawRequest --read--> InferenceRequest --decode--> prepared images --predict--> Prediction --encode--> Reply

read      one of READERS turns the body into images (files or arrays) and options, within the server's limits
decode    each image becomes (height, width[, 3]) uint8 as the network takes it, or its DecodeError
predict   one forward pass (or, in a server, a share of several requests' passes) gives probabilities
encode    one of WRITERS, chosen by the Accept header, turns the probabilities into the body of the reply
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from thorax.data.images import DecodeError, header
from thorax.errors import ThoraxError
from thorax.serving.accept import choose_writer
from thorax.serving.arrays import unfolded
from thorax.serving.classifier import Classifier, Score
from thorax.serving.image_cost import cost, is_cheap
from thorax.serving.readers import READERS, shorten
from thorax.serving.request import InferenceRequest, RawRequest, RequestError, body_too_large, too_many_images
from thorax.serving.response import Prediction, Reply, refusal
from thorax.serving.settings import ServerSettings
from thorax.serving.work import Work
from thorax.serving.writers import JSON, LINES, PNG, VERBOSE, WRITERS

Images = list[np.ndarray | DecodeError]
#: Letters of a content type's parameters, at most: taking them apart takes the square of their number.
LONGEST_PARAMETERS = 1000
#: Values of a body that are read in this process, at most, by the marks between them: some 10 ms.
MANY_VALUES = 50_000


def answer(
    classifier: Classifier,
    raw: RawRequest,
    settings: ServerSettings | None = None,
    score: Score | None = None,
    work: Work | None = None,
) -> Reply:
    """Answers one request. A mistake in it becomes a reply of one line, without a traceback.

    Args:
        classifier: the classifier that scores.
        raw: the request.
        settings: limits; default: ServerSettings().
        score: the forward pass; default: the classifier's own, at once. A server shares one between requests.
        work: how a server works for strangers; default: in this process, for as long as it takes.
    """
    settings = settings or ServerSettings()
    try:
        writer = choose_writer(raw.accept, settings.batch_job)
        request = read(raw, settings, work)
        images = decode(request, classifier, work)
        return encode(predict(request, images, classifier, score), writer, work)
    except ThoraxError as error:
        return refusal(error, settings)


def read(raw: RawRequest, settings: ServerSettings, work: Work | None = None) -> InferenceRequest:
    """The images and options of a request; with `work`, files that are not proven cheap are not looked into.

    Raises:
        RequestError: 415 for a content type that is not in READERS, 413 for too much, 400 for a body that does not fit
            its type.
    """
    name, _, parameters = (raw.content_type or "").partition(";")
    name = name.strip().lower() or "application/octet-stream"
    if len(raw.body) > settings.max_request_bytes:
        raise body_too_large(settings)
    if name not in READERS:
        raise RequestError(415, f"content type {shorten(name)} is not read here; send one of {', '.join(READERS)}")
    if len(parameters) > LONGEST_PARAMETERS:
        raise RequestError(
            400, f"the content type has {len(parameters)} letters of parameters, more than {LONGEST_PARAMETERS}"
        )
    if not raw.body:
        raise RequestError(400, "the body is empty; send an image")
    if raw.options.normalized:
        parameters = f"{parameters}; normalized=true"
    request = _read(name, raw.body, parameters, settings, work)
    if len(request.images) > settings.max_images:
        raise too_many_images(len(request.images), settings)
    if not request.images:
        raise RequestError(400, "the request holds no image")
    if work:
        work.admit(sum(cost(image) for image in request.images if isinstance(image, bytes) and not is_cheap(image)))
    images = [
        image if work and _costly(image) else _within_pixels(image, settings.max_pixels) for image in request.images
    ]
    options = raw.options.overridden_by(request.options)
    return replace(request, images=images, options=options, binary_answer=settings.binary_answer)


def _read(name: str, body: bytes, parameters: str, settings: ServerSettings, work: Work | None) -> InferenceRequest:
    """Reads a body: one of many values in a child, where the interpreter is nobody else's."""
    if work is None:
        return READERS[name].read(body, parameters, settings)
    if READERS[name].values and sum(body.count(mark) for mark in b',["\n') > MANY_VALUES:
        return work.pool.read(body, name, parameters, work.deadline, work.client)
    with work.turn():
        return READERS[name].read(body, parameters, settings)


def _within_pixels(image: Any, limit: int) -> Any:
    """The image, or where its header claims more pixels than the limit a DecodeError."""
    if not isinstance(image, bytes | np.ndarray):
        return image
    if isinstance(image, np.ndarray):
        height, width = image.shape[:2]
    else:
        try:
            found = header(image, "the image")
        except ThoraxError:  # a header that cannot be read: the decoder says what is wrong
            return image
        height, width = found.height, found.width
    if height * width <= limit:
        return image
    return DecodeError(f"the image has {width}x{height} pixels, more than the {limit} that this server reads")


def _costly(image: Any) -> bool:
    return isinstance(image, bytes) and not is_cheap(image)


def decode(request: InferenceRequest, classifier: Classifier, work: Work | None = None) -> Images:
    """Each image of a request as (height, width[, 3]) uint8 (one that is normalised as the network's input), or why it
    cannot be read; it never fails the others. The images of a CSV are told apart here."""
    try:
        request = unfolded(request, classifier.bundle.preprocessing)
    except RequestError as error:
        return [DecodeError(str(error))]
    names = [f"image {k}" if request.several else "the image" for k in range(len(request.images))]
    if work is None:
        return classifier.prepare_each(request.images, names)
    return [_decoded(image, name, classifier, work) for image, name in zip(request.images, names, strict=True)]


def _decoded(image: Any, name: str, classifier: Classifier, work: Work) -> np.ndarray | DecodeError:
    """One image, in time.

    Raises:
        RequestError: 429 or 503, the request's time is over, or too many images take long.
    """
    work.check()
    if not _costly(image):
        with work.turn():
            return classifier.prepare_each([image], [name])[0]
    try:
        return work.pool.prepare(image, name, work.deadline, work.client)
    except DecodeError as error:
        return error


def predict(
    request: InferenceRequest, images: Images, classifier: Classifier, score: Score | None = None
) -> Prediction:
    """The probabilities of those images that could be decoded, all in one call of `score`."""
    if len(images) > 1 and not request.several:  # the lines of a CSV
        request = replace(request, several=True)
    rows = classifier.score_each(images, score or classifier.outputs)
    labels = len(classifier.labels)  # behind them, of an ensemble, how far its members are apart
    spreads = tuple(row[labels:] if isinstance(row, np.ndarray) and len(row) > labels else None for row in rows)
    rows = [row[:labels] if isinstance(row, np.ndarray) else row for row in rows]
    return Prediction(classifier, request, images, rows, spreads=spreads)


def encode(prediction: Prediction, writer: str, work: Work | None = None) -> Reply:
    """The reply in the content type `writer`, a name in WRITERS. With heat maps application/json is the verbose one.

    Raises:
        RequestError: 503, `work` has no time left; 400, no image could be read, or the content type cannot hold them
            all; 406, it cannot hold heat maps.
    """
    errors = [row for row in prediction.rows if isinstance(row, DecodeError)]
    if len(errors) == len(prediction.rows):
        raise RequestError(400, str(errors[0]))
    if prediction.request.options.explain and not WRITERS[writer].heat_maps:
        if writer != JSON:
            raise RequestError(
                406, f"{writer} has no room for heat maps; with explain=true ask for {JSON}, {LINES} or {PNG}"
            )
        writer = VERBOSE
    if work:
        work.check()
        prediction = replace(prediction, draw=work.draw)
    return Reply(200, writer.partition(";")[0], WRITERS[writer].write(prediction))
