"""SageMaker's four functions over one Classifier, for the TorchServe image; source_dir/inference.py hands them over.

Images that are not proven cheap are decoded in child processes, within a time and a memory of their own, as in the app.

Limits of that image's toolkit: its own errors carry a traceback, its batches are loops, a form (multipart/form-data) is
taken apart before it gets here, its /ping does not ask the model, and it tells nothing of the clients, which so have no
shares.
"""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from io import BufferedIOBase
from typing import Any, NoReturn

from thorax.data.images import DecodeError, Preprocessing
from thorax.errors import ThoraxError
from thorax.serving import pipeline
from thorax.serving.accept import choose_writer
from thorax.serving.classifier import Classifier
from thorax.serving.decode_pool import DecodePool
from thorax.serving.request import InferenceRequest, RawRequest, RequestError, ResponseOptions
from thorax.serving.response import Prediction, error_reply, refusal, without_folders
from thorax.serving.settings import ServerSettings
from thorax.serving.work import Means, Work

#: By what they prepare images for: a worker of TorchServe has one model.
_MEANS: dict[Preprocessing, Means] = {}


def model_fn(model_dir: str, context: Any = None) -> Classifier:
    """The classifier of the bundle in `model_dir`."""
    chosen = settings()
    classifier = Classifier.load(
        model_dir,
        device=_gpu(context),
        engine=chosen.engine,
        precision=chosen.precision,
        threads=chosen.threads or 1,
        batch=chosen.max_batch or None,
        tta=chosen.tta or None,
    )
    _means(classifier)
    return classifier


def input_fn(
    request_body: bytes | bytearray | str | BufferedIOBase, content_type: str | None = None, context: Any = None
) -> InferenceRequest:
    """The images of a request.

    Raises:
        GenericInferenceToolkitError: 400, 413 or 415; where the toolkit is not installed, RequestError.
    """
    try:
        body = request_body.read() if hasattr(request_body, "read") else request_body
        body = body.encode(errors="replace") if isinstance(body, str) else bytes(body or b"")
        options = ResponseOptions.of(attributes=_attributes(context))
        return pipeline.read(
            RawRequest(body, content_type, options=options), settings(), _work(next(iter(_MEANS.values()), None))
        )
    except ThoraxError as error:
        if settings().batch_job:  # output_fn answers it
            return InferenceRequest([DecodeError(str(error))])
        _raise_for_toolkit(error)


def predict_fn(data: InferenceRequest, model: Classifier) -> Prediction:
    """Probabilities of the images; of those that cannot be read, the reason.

    Raises:
        GenericInferenceToolkitError: 413, 429, 503: decoding the images takes too long.
    """
    try:
        return pipeline.predict(data, pipeline.decode(data, model, _work(_means(model))), model)
    except RequestError as error:
        _raise_for_toolkit(error)


def output_fn(prediction: Prediction, accept: str | None = None) -> tuple[bytes | str, str]:
    """The body of the reply in the content type that `accept` asks for, a str where it is text, and that content type.

    Raises:
        GenericInferenceToolkitError: 400 where no image could be read, 406; where the toolkit is not installed,
            RequestError.
    """
    try:
        reply = pipeline.encode(prediction, choose_writer(accept, settings().batch_job))
    except ThoraxError as error:
        reply = refusal(error, settings())
        if reply.status != HTTPStatus.OK:
            _raise_for_toolkit(error)
    is_text = reply.content_type.startswith("text/") or "json" in reply.content_type
    return reply.body.decode() if is_text else reply.body, reply.content_type


@cache
def settings() -> ServerSettings:
    """The settings of this process's environment, read once."""
    return ServerSettings.from_environment().without_guard("TorchServe")


def _means(classifier: Classifier) -> Means:
    """The processes that decode for a classifier."""
    if classifier.bundle.preprocessing not in _MEANS:
        pool = DecodePool(
            classifier.bundle.preprocessing, settings(), processes=1
        )  # a worker has one request at a time
        _MEANS[classifier.bundle.preprocessing] = Means(pool)
    return _MEANS[classifier.bundle.preprocessing]


def _work(means: Means | None) -> Work | None:
    """The work for a request that begins now; None: before there is a model."""
    return Work.of(means, settings().timeout_s) if means else None


def _gpu(context: Any) -> Any:
    """The torch.device of the GPU that TorchServe gave this worker; None: the classifier chooses."""
    number = getattr(context, "system_properties", {}).get("gpu_id")
    if not isinstance(number, int):
        return None
    import torch

    return torch.device("cuda", number) if torch.cuda.is_available() else None


def _attributes(context: Any) -> str:
    """X-Amzn-SageMaker-Custom-Attributes, where the toolkit passes it on."""
    try:
        return str(context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes") or "")
    except (AttributeError, IndexError, KeyError):
        return ""


def _raise_for_toolkit(error: ThoraxError) -> NoReturn:
    """Raises the error in the form that the toolkit passes on to the caller, with its status."""
    refused = error if isinstance(error, RequestError) else RequestError(400, str(error))
    try:
        from sagemaker_inference.errors import GenericInferenceToolkitError
    except ImportError:
        raise refused from None
    message = error_reply(refused.status, without_folders(refused)).body.decode()
    raise GenericInferenceToolkitError(refused.status, message, HTTPStatus(refused.status).phrase) from None
