"""A request before and after its images are read, and the error of one that cannot be answered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np

from thorax.data.images import DecodeError
from thorax.errors import ThoraxError
from thorax.serving.settings import ServerSettings

if TYPE_CHECKING:
    from thorax.serving.arrays import NormalizedImage, NumberTable

#: Parts of a query, at most.
MOST_OPTIONS = 100
_TRUTH = {"true": True, "1": True, "": True, "false": False, "0": False}


def normalized_in(parameters: str) -> bool:
    """Whether the parameters of a content type (or a query) say normalized=true.

    Raises:
        RequestError: 400, it is neither true nor false.
    """
    found = re.search(r"(?:^|[;&,\s])normalized\s*=\s*\"?([^;&,\s\"]*)", parameters, re.IGNORECASE)
    if found is None:
        return False
    if found[1].lower() not in _TRUTH:
        raise RequestError(400, f"normalized={found[1][:40]} must be true or false")
    return _TRUTH[found[1].lower()]


class RequestError(ThoraxError):
    """A request that cannot be answered; `status` is the HTTP status of its reply."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def body_too_large(settings: ServerSettings) -> RequestError:
    """413: the body exceeds `max_request_bytes`."""
    return RequestError(
        413, f"the body is larger than {settings.max_request_bytes} bytes; send a smaller image, or fewer at once"
    )


def too_many_images(count: int, settings: ServerSettings) -> RequestError:
    """413: the request holds more than `max_images` images."""
    return RequestError(
        413, f"{count} images are more than the {settings.max_images} of one request; send several requests"
    )


@dataclass(frozen=True)
class ResponseOptions:
    """What a caller may ask for beyond probabilities.

    Attributes:
        explain: whether heat maps are returned too; None: not given, then a label asks for them.
        label: the one label of the heat maps; empty: every label (in image/png: the most probable one).
        normalized: whether the arrays of the request are normalised already.
    """

    explain: bool | None = None
    label: str = ""
    normalized: bool = False

    @classmethod
    def of(cls, query: str = "", attributes: str = "") -> ResponseOptions:
        """Options of a query (explain=true&label=NAME) and of X-Amzn-SageMaker-Custom-Attributes (the same, also with
        , or ; between); the query wins.

        Raises:
            RequestError: 400, explain is neither true nor false, or there are too many parts.
        """
        texts = attributes.replace(",", "&").replace(";", "&"), query
        try:
            pairs = [pair for text in texts for pair in parse_qsl(text, True, max_num_fields=MOST_OPTIONS)]
        except ValueError:
            raise RequestError(400, f"the query has more than {MOST_OPTIONS} parts") from None
        return cls().updated({key.strip(): text.strip() for key, text in pairs})

    def updated(self, given: Mapping[str, Any]) -> ResponseOptions:
        """These options with the fields `explain` and `label` of `given`, where it has them.

        Raises:
            RequestError: 400, explain is neither true nor false, or label is no text.
        """
        explain, label = str(given.get("explain", "")), given.get("label", self.label)
        if explain.lower() not in _TRUTH:
            raise RequestError(400, f"explain={explain[:40]} must be true or false")
        if not isinstance(label, str):
            raise RequestError(400, "label must be the name of a label")
        normalized = normalized_in(f"normalized={given['normalized']}") if "normalized" in given else self.normalized
        explained = _TRUTH[explain.lower()] if "explain" in given else self.explain
        return replace(self, explain=explained, label=label, normalized=normalized)

    def overridden_by(self, other: ResponseOptions) -> ResponseOptions:
        """These options, with those of `other` where it has them; a label alone asks for its heat map."""
        explain, label = self.explain if other.explain is None else other.explain, other.label or self.label
        return replace(self, explain=True if explain is None and label else explain, label=label)


@dataclass(frozen=True)
class RawRequest:
    """A request as it arrives.

    Attributes:
        body: the whole body.
        content_type: as the caller names it, with parameters; None or empty: application/octet-stream.
        accept: the Accept header; None or empty: */*.
        options: those of query and headers; fields of the body win over them.
    """

    body: bytes
    content_type: str | None = None
    accept: str | None = None
    options: ResponseOptions = field(default_factory=ResponseOptions)


@dataclass(frozen=True)
class InferenceRequest:
    """A request that has been read.

    Attributes:
        images: files as bytes, images as arrays or already normalised, the lines of a CSV, or why one of several cannot
            be read.
        several: whether the caller sent a list (perhaps of one), and is answered with a list.
        options: what is asked for beyond probabilities.
        binary_answer: what bare answers of two exclusive classes hold, by the server's settings.
    """

    images: list[bytes | np.ndarray | NormalizedImage | NumberTable | DecodeError]
    several: bool = False
    options: ResponseOptions = field(default_factory=ResponseOptions)
    binary_answer: str = "both"
