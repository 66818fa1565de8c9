"""SageMaker's four serving functions over one Classifier, for the TorchServe image. The toolkit needs nothing else.

What the toolkit itself prevents: its own errors carry a traceback, its batches are loops, a form (multipart/form-data)
is
taken apart before it gets here, and its /ping knows nothing of the model.
"""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from io import BufferedIOBase
from typing import Any, NoReturn

from thorax.errors import ThoraxError
from thorax.serving import pipeline, readers, writers
from thorax.serving.classifier import Classifier
from thorax.serving.readers import InferenceRequest, RequestError, ResponseOptions
from thorax.serving.settings import ServerSettings
from thorax.serving.writers import Prediction


def model_fn(model_dir: str, context: Any = None) -> Classifier:
    """The classifier of the bundle in `model_dir`."""
    chosen = settings()
    return Classifier.load(
        model_dir, device=_gpu(context), precision=chosen.precision, threads=chosen.threads or 1, batch=chosen.max_batch
    )


def input_fn(
    request_body: bytes | bytearray | str | BufferedIOBase, content_type: str | None = None, context: Any = None
) -> InferenceRequest:
    """The images of a request.

    Raises:
        GenericInferenceToolkitError: 400, 413 or 415; where the toolkit is not installed, RequestError.
    """
    try:
        body = request_body.read() if hasattr(request_body, "read") else request_body
        body = body.encode() if isinstance(body, str) else bytes(body or b"")
        return readers.read(body, content_type, settings(), ResponseOptions.of(attributes=_attributes(context)))
    except ThoraxError as error:
        _refuse(error)


def predict_fn(data: InferenceRequest, model: Classifier) -> Prediction:
    """Probabilities of the images, and for those that cannot be read the reason."""
    return pipeline.predict(model, data)


def output_fn(prediction: Prediction, accept: str | None = None) -> tuple[bytes | str, str]:
    """The answer in the form that `accept` asks for, and its content type.

    Raises:
        GenericInferenceToolkitError: 400 where no image could be read, 406; where the toolkit is not installed,
            RequestError.
    """
    try:
        reply = writers.write(prediction, writers.chosen(accept))
    except ThoraxError as error:
        _refuse(error)
    text = reply.content_type.startswith("text/") or "json" in reply.content_type
    return reply.body.decode() if text else reply.body, reply.content_type


@cache
def settings() -> ServerSettings:
    return ServerSettings.from_environment()


def _gpu(context: Any) -> Any:
    """The GPU that TorchServe gave this worker; None where it gave none: the classifier's own choice."""
    import torch

    number = getattr(context, "system_properties", {}).get("gpu_id")
    return torch.device("cuda", number) if isinstance(number, int) and torch.cuda.is_available() else None


def _attributes(context: Any) -> str:
    """X-Amzn-SageMaker-Custom-Attributes, where the toolkit tells."""
    try:
        return str(context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes") or "")
    except (AttributeError, IndexError, KeyError):
        return ""


def _refuse(error: ThoraxError) -> NoReturn:
    refused = error if isinstance(error, RequestError) else RequestError(400, str(error))
    try:
        from sagemaker_inference.errors import GenericInferenceToolkitError
    except ImportError:
        raise refused from None
    told = pipeline.refusal(refused.status, str(refused)).body.decode()
    raise GenericInferenceToolkitError(refused.status, told, HTTPStatus(refused.status).phrase) from None
