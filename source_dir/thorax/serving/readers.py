"""Content types that a request may have: one entry of READERS each. Nothing is unpickled, no web address is fetched.

To add one, register it under its name in small letters, without parameters:

    READERS.register("application/x-pgm", RequestReader(read_file, "one image, a PGM file"))
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from thorax.data.decoders import IMAGE_FORMATS
from thorax.data.images import DecodeError
from thorax.registry import Registry
from thorax.serving.arrays import from_csv, from_lists, images_in, no_image
from thorax.serving.request import InferenceRequest, RequestError, ResponseOptions, normalized_in, too_many_images
from thorax.serving.s3_images import fetch_image
from thorax.serving.settings import ServerSettings


@dataclass(frozen=True)
class RequestReader:
    """One content type of requests.

    Attributes:
        read: (body, parameters of the content type, settings) -> the request; the body is not empty and not too large.
            It raises RequestError (400 or 413) for a body that does not fit the type.
        help: what the body holds, in a few words.
        values: whether the body is a text that may hold millions of values, which take long to read.
    """

    read: Callable[[bytes, str, ServerSettings], InferenceRequest]
    help: str
    values: bool = False


READERS: Registry[RequestReader] = Registry("content type")


def read_file(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """One image as the bytes of a file, whose first bytes tell its format."""
    return InferenceRequest([body])


def read_npy(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """A .npy file: (H, W) or (H, W, 3) is an image; (N, H, W), (N, H, W, 3), (N, 3, H, W) or (N, 1, H, W) is a list of
    images; with normalized=true (N, C, H, W) or (C, H, W) floats are what the network takes.

    The header is checked before an array is made.
    """
    stream = io.BytesIO(body)
    try:
        version = npy_format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError
        read_header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = read_header(stream, max_header_size=4096)
    except Exception:  # numpy parses Python literals: hostile headers raise errors of any type, with the header in them
        raise RequestError(
            400, "the body is not an array in numpy's .npy format (version 1.0 or 2.0): its header cannot be read"
        ) from None
    if dtype.hasobject or dtype.names or dtype.subdtype or dtype.kind not in "uf" or dtype.itemsize > 8:
        raise RequestError(400, f"an array of {shorten(str(dtype))} is not read; send uint8, uint16, or float in 0..1")
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise no_image(shape)
    count, found = prod(shape), len(body) - stream.tell()
    if count * dtype.itemsize != found:
        raise RequestError(400, f"the array's header says {shorten(str(shape))} of {dtype}, but {found} bytes follow")
    values = np.frombuffer(body, dtype, offset=stream.tell()).reshape(shape, order="F" if fortran else "C")
    return images_in(values, normalized_in(parameters), settings)


def read_json(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """{"image": base64}, {"images": [base64, ...]} or {"s3_uri": "s3://..."}; each may have "explain" and "label". Or
    nested lists of numbers: see arrays.from_lists."""
    try:
        stored = json.loads(body)
    except RecursionError:
        raise RequestError(400, "the body is not JSON: it is nested too deeply") from None
    except ValueError as error:
        raise RequestError(400, f"the body is not JSON: {_first_line(error)}") from None
    if isinstance(stored, list) and stored:
        return from_lists(stored, parameters, settings)
    keys = [key for key in ("image", "images", "s3_uri") if isinstance(stored, dict) and key in stored]
    if len(keys) != 1:
        raise RequestError(
            400, 'the JSON must be {"image": base64}, {"images": [base64, ...]} or {"s3_uri": "s3://..."}'
        )
    options, value = ResponseOptions().updated(stored), stored[keys[0]]
    if keys[0] == "s3_uri":
        return InferenceRequest([fetch_image(value, settings)], False, options)
    if keys[0] == "image":
        return InferenceRequest([_from_base64(value, "image")], False, options)
    if not isinstance(value, list):
        raise RequestError(400, '"images" must be a list of images in base64')
    if len(value) > settings.max_images:
        raise too_many_images(len(value), settings)
    return InferenceRequest([_from_base64(text, f"image {k}") for k, text in enumerate(value)], True, options)


def _from_base64(text: Any, name: str) -> bytes | DecodeError:
    if not isinstance(text, str):
        return DecodeError(f'"{name}" must be a text, an image in base64')
    if text.startswith("data:"):  # as a browser's FileReader writes it
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        return DecodeError(f'"{name}" is not base64: {_first_line(error)}')


def read_form(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """A form (RFC 7578): every part with a file name is an image; the fields `explain` and `label` are options."""
    boundary = _header(b"Content-Type: multipart/form-data;" + parameters.encode("utf-8", "replace")).get_boundary()
    if not boundary:
        raise RequestError(400, "multipart/form-data needs a boundary in its content type")
    mark = b"\r\n--" + boundary.encode("utf-8", "replace")
    images: list[bytes | np.ndarray | DecodeError] = []
    fields: dict[str, str] = {}
    for part in (b"\r\n" + body).split(mark, settings.max_images + 8)[1:]:
        if part.startswith(b"--"):
            break
        head, found, content = part.partition(b"\r\n\r\n")
        if not found or len(head) > 8192 or head.count(b";") > 100:
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
    return InferenceRequest([*images], len(images) > 1, ResponseOptions().updated(fields))


def _header(head: bytes) -> Message:
    return BytesHeaderParser().parsebytes(head + b"\r\n\r\n")


def _first_line(error: Exception) -> str:
    return shorten((str(error).splitlines() or [type(error).__name__])[0])


def shorten(text: str) -> str:
    """A caller's text, at most 100 characters of it, for a message."""
    return text if len(text) <= 100 else text[:100] + "..."


for _name, _what in (
    *((IMAGE_FORMATS[_format].content_type, f"a {_format} file") for _format in IMAGE_FORMATS),
    ("application/x-image", "a file of any of these formats"),
    ("application/octet-stream", "a file of any of these formats; also where no content type is given"),
    ("image/jpg", "a JPEG file: a wrong name of image/jpeg that is in wide use"),
):
    READERS.register(_name, RequestReader(read_file, f"one image, {_what}"))
READERS.register(
    "application/x-npy",
    RequestReader(
        read_npy,
        "numpy's .npy: an image (H, W[, 3]) or a list of images (N, H, W[, 3]); with ; normalized=true the network's"
        " own input (N, C, H, W)",
    ),
)
READERS.register(
    "application/json",
    RequestReader(
        read_json,
        '{"image": base64}, {"images": [base64, ...]} or {"s3_uri": "s3://..."}; "explain", "label"; or lists of'
        " numbers, as .npy",
        values=True,
    ),
)
READERS.register(
    "text/csv", RequestReader(from_csv, "lines of numbers: a line an image, or the rows of one", values=True)
)
READERS.register("multipart/form-data", RequestReader(read_form, "a form of files, with the fields explain and label"))
