"""Requests in: bytes and a content type become images, or one clear line why not.

Nothing is unpickled, no URL is fetched.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.parser import BytesHeaderParser
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from numpy.lib import format as npy

from thorax.data.images import DecodeError, header
from thorax.errors import ThoraxError
from thorax.serving.settings import ServerSettings

#: One image each, as the bytes of a file; what a file is, its own first bytes tell.
FILES = (
    "image/jpeg",
    "image/png",
    "image/tiff",
    "application/dicom",
    "application/x-image",
    "application/octet-stream",
)


class RequestError(ThoraxError):
    """A request that cannot be answered; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ResponseOptions:
    """What a caller may ask for beyond probabilities.

    Attributes:
        explain: heat maps too; None: not said, then a label asks for them.
        label: of this label alone; empty: of every one (in a picture: of the most probable).
    """

    explain: bool | None = None
    label: str = ""

    @classmethod
    def of(cls, query: str = "", attributes: str = "") -> ResponseOptions:
        """From a query (explain=true&label=NAME) and X-Amzn-SageMaker-Custom-Attributes (the same, or with , or ;
        between).

        Raises:
            RequestError: 400, explain is neither true nor false.
        """
        words = parse_qsl(attributes.replace(",", "&").replace(";", "&"), keep_blank_values=True) + parse_qsl(
            query, keep_blank_values=True
        )
        return cls().taking({key.strip(): text.strip() for key, text in words})

    def taking(self, given: Mapping[str, Any]) -> ResponseOptions:
        explain, label = given.get("explain", ""), given.get("label", self.label)
        known = {"true": True, "1": True, "": True, "false": False, "0": False}
        if str(explain).lower() not in known:
            raise RequestError(400, f"explain={str(explain)[:40]} must be true or false")
        if not isinstance(label, str):
            raise RequestError(400, "label must be the name of a label")
        return replace(self, explain=known[str(explain).lower()] if "explain" in given else self.explain, label=label)


@dataclass(frozen=True)
class InferenceRequest:
    """What was asked.

    Attributes:
        images: files as bytes or images as arrays, or why one of several cannot be read.
        several: the caller sent a list (of one, perhaps), and is answered with a list.
    """

    images: list[bytes | np.ndarray | DecodeError]
    several: bool = False
    options: ResponseOptions = field(default_factory=ResponseOptions)


def read(
    body: bytes, content_type: str | None, settings: ServerSettings, options: ResponseOptions | None = None
) -> InferenceRequest:
    """The images of a request.

    Args:
        body: the whole body.
        content_type: as the caller named it; None counts as application/octet-stream.
        settings: limits.
        options: from query and headers; fields of the body win.

    Raises:
        RequestError: 415 for a content type that is not read here, 413 for too much, 400 for a body that does not fit
            its type.
    """
    kind, _, parameters = (content_type or "application/octet-stream").partition(";")
    kind = kind.strip().lower() or "application/octet-stream"
    if len(body) > settings.max_request_bytes:
        raise too_large(settings)
    reader = _READERS.get(kind)
    if reader is None:
        raise RequestError(415, f"content type {_shown(kind)} is not read here; send one of {', '.join(_READERS)}")
    if not body:
        raise RequestError(400, "the body is empty; send an image")
    request = reader(body, parameters, settings)
    if len(request.images) > settings.max_images:
        raise RequestError(
            413,
            f"{len(request.images)} images are more than the {settings.max_images} of one request; send several"
            " requests",
        )
    if not request.images:
        raise RequestError(400, "the request holds no image")
    for k, image in enumerate(request.images):
        if not isinstance(image, DecodeError) and (problem := _too_many_pixels(image, settings)):
            request.images[k] = DecodeError(problem)
    merged = (options or ResponseOptions()).taking(_fields(request.options))
    if merged.explain is None and merged.label:
        merged = replace(merged, explain=True)
    return replace(request, options=merged)


def too_large(settings: ServerSettings) -> RequestError:
    return RequestError(
        413, f"the body is larger than {settings.max_request_bytes} bytes; send a smaller image, or fewer at once"
    )


def _file(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    return InferenceRequest([body])


def _array(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """A .npy file: (H, W) or (H, W, 3) is an image, (N, H, W) or (N, H, W, 3) is a batch.

    The header is judged before anything is made.
    """
    stream = io.BytesIO(body)
    try:
        version = npy.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError
        shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(
            stream, max_header_size=4096
        )
    except (
        Exception
    ):  # ValueError, but also what the parser of Python literals makes of hostile headers; numpy says them back
        raise RequestError(
            400, "the body is not an array in numpy's .npy format (version 1.0 or 2.0): its header cannot be read"
        ) from None
    if dtype.hasobject or dtype.names or dtype.subdtype or dtype.kind not in "uf" or dtype.itemsize > 8:
        raise RequestError(400, f"an array of {_shown(str(dtype))} is not read; send uint8, uint16, or float in 0..1")
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise RequestError(
            400,
            f"an array of shape {_shown(str(shape))} is no image; send (H, W), (N, H, W), (H, W, 3) or (N, H, W, 3)",
        )
    count = 1
    for side in shape:
        count *= side
    if count * dtype.itemsize != len(body) - stream.tell():
        raise RequestError(
            400,
            f"the array's header says {_shown(str(shape))} of {dtype}, but {len(body) - stream.tell()} bytes follow",
        )
    values = np.frombuffer(body, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")
    if values.ndim == 4 and shape[3] != 3:
        raise RequestError(
            400, f"an array of shape {shape} is no image; send (H, W), (N, H, W), (H, W, 3) or (N, H, W, 3)"
        )
    several = values.ndim == 4 or (values.ndim == 3 and shape[2] != 3)
    if several and shape[0] > settings.max_images:
        raise RequestError(
            413, f"{shape[0]} images are more than the {settings.max_images} of one request; send several requests"
        )
    return InferenceRequest(list(values) if several else [values], several)


def _json(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """{"image": base64}, {"images": [base64, ...]} or {"s3_uri".

    "s3://..."}, each with "explain" and "label" if wanted.
    """
    try:
        stored = json.loads(body)
    except (ValueError, RecursionError) as error:
        told = "it is nested too deeply" if isinstance(error, RecursionError) else _first_line(error)
        raise RequestError(400, f"the body is not JSON: {told}") from None
    ways = [key for key in ("image", "images", "s3_uri") if isinstance(stored, dict) and key in stored]
    if len(ways) != 1:
        raise RequestError(
            400, 'the JSON must be {"image": base64}, {"images": [base64, ...]} or {"s3_uri": "s3://..."}'
        )
    options = ResponseOptions().taking({key: stored[key] for key in ("explain", "label") if key in stored})
    given = stored[ways[0]]
    if ways[0] == "images":
        if not isinstance(given, list):
            raise RequestError(400, '"images" must be a list of images in base64')
        if len(given) > settings.max_images:
            raise RequestError(
                413,
                f"{len(given)} images are more than the {settings.max_images} of one request; send several requests",
            )
        return InferenceRequest([_from_base64(text, f"image {k}") for k, text in enumerate(given)], True, options)
    image = from_s3(given, settings) if ways[0] == "s3_uri" else _from_base64(given, "image")
    return InferenceRequest([image], False, options)


def _from_base64(text: Any, name: str) -> bytes | DecodeError:
    if not isinstance(text, str):
        return DecodeError(f'"{name}" must be a text, an image in base64')
    if text.startswith("data:"):  # as a browser's FileReader gives it
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        return DecodeError(f'"{name}" is not base64: {_first_line(error)}')


def _multipart(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """A form (RFC 7578): every part with a file name is an image; fields `explain` and `label`."""
    boundary = _header(b"Content-Type: multipart/form-data;" + parameters.encode("utf-8", "replace")).get_boundary()
    if not boundary:
        raise RequestError(400, "multipart/form-data needs a boundary in its content type")
    mark = b"\r\n--" + boundary.encode("utf-8", "replace")
    _, *parts = (b"\r\n" + body).split(mark, settings.max_images + 8)
    images: list[bytes | np.ndarray | DecodeError] = []
    fields: dict[str, str] = {}
    for part in parts:
        if part.startswith(b"--"):
            break
        head, found, content = part.partition(b"\r\n\r\n")
        if not found or len(head) > 8192:
            raise RequestError(400, "a part of the form has no headers, or is cut off")
        header = _header(head.lstrip())
        name = header.get_param("name", header="content-disposition")
        if header.get_filename() is not None:
            images.append(content)
        elif name in ("explain", "label"):
            fields[str(name)] = content.decode("utf-8", "replace").strip()
        else:
            raise RequestError(
                400,
                "a part of the form is neither a file nor one of the fields explain and label; give images a file name",
            )
    else:
        raise RequestError(400, f"the form is cut off, or has more than {settings.max_images} images")
    return InferenceRequest(images, len(images) > 1, ResponseOptions().taking(fields))


def _header(head: bytes) -> Any:
    return BytesHeaderParser().parsebytes(head + b"\r\n\r\n")


def from_s3(uri: Any, settings: ServerSettings) -> bytes:
    """The image at s3://bucket/key, if the settings allow that place. Only S3 is asked, never another address.

    Raises:
        RequestError: 400, 403 or 413.
    """
    if not isinstance(uri, str) or not uri.startswith("s3://") or "/" not in uri[5:]:
        raise RequestError(400, '"s3_uri" must be s3://bucket/key; other addresses are not read')
    if not any(uri.startswith(prefix.rstrip("/") + "/") for prefix in settings.s3_prefixes):
        raise RequestError(
            403,
            '"s3_uri" names a place that this server may not read; its operator allows places by THORAX_S3_PREFIXES',
        )
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise RequestError(400, '"s3_uri" needs boto3 on the server: pip install boto3') from None
    bucket, _, key = uri[5:].partition("/")
    try:
        config = Config(connect_timeout=5, read_timeout=settings.timeout_s, retries={"max_attempts": 2})
        answer = boto3.client("s3", config=config).get_object(Bucket=bucket, Key=key)
        if answer["ContentLength"] > settings.max_request_bytes:
            raise RequestError(
                413, f"the image at s3_uri has {answer['ContentLength']} bytes, more than {settings.max_request_bytes}"
            )
        return bytes(answer["Body"].read(settings.max_request_bytes))
    except RequestError:
        raise
    except Exception as error:  # botocore's errors name buckets, keys and request ids: the kind is enough
        code = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        raise RequestError(400, f"the image at s3_uri cannot be read from S3: {code}") from None


_READERS: dict[str, Callable[[bytes, str, ServerSettings], InferenceRequest]] = {
    **dict.fromkeys(FILES, _file),
    "application/x-npy": _array,
    "application/json": _json,
    "multipart/form-data": _multipart,
}
INPUTS = tuple(_READERS)


def _too_many_pixels(image: bytes | np.ndarray, settings: ServerSettings) -> str:
    """Why an image is too large, told by its header alone; "" where it is not, or where the header cannot be read."""
    if isinstance(image, np.ndarray):
        height, width = image.shape[:2]
    else:
        try:
            told = header(image, "the image")
        except ThoraxError:  # the decoder says what is wrong
            return ""
        height, width = told.height, told.width
    return (
        f"the image has {width}x{height} pixels, more than the {settings.max_pixels} that this server reads"
        if width * height > settings.max_pixels
        else ""
    )


def _fields(options: ResponseOptions) -> dict[str, Any]:
    """The options that were given, by name."""
    return {
        key: value for key, value in (("explain", options.explain), ("label", options.label)) if value not in (None, "")
    }


def _first_line(error: Exception) -> str:
    return _shown((str(error).splitlines() or [type(error).__name__])[0])


def _shown(text: str) -> str:
    """What a caller sent, short enough to be said back."""
    return text if len(text) <= 100 else text[:100] + "..."
