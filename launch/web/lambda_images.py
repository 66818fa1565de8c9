"""The image in a request: its bytes as they are, in a form, or as base64 in JSON."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

from lambda_request import HttpError, HttpRequest, from_base64, limit, too_large

#: Beside this file in Lambda (`make web`), in the package otherwise.
PAGES = (Path(__file__).parent / "page", Path(__file__).parent / "../../source_dir/thorax/serving/page")
#: A form's boundary in its content type (RFC 2046).
_BOUNDARY = re.compile(r""";\s*boundary=(?:"([\x20-\x7e]{1,70}?)"|([!#-+\--:<-~]{1,70}))\s*(?:;|$)""", re.IGNORECASE)


def pages() -> Path:
    """The folder of the page's files."""
    return next(folder for folder in PAGES if folder.is_dir())


@functools.cache
def kinds() -> list[dict[str, Any]]:
    """The kinds of images that an endpoint reads: name, content_type, endings, and marks as [offset, hex bytes]."""
    found: list[dict[str, Any]] = json.loads((pages() / "kinds.json").read_text(encoding="utf-8"))
    return found


def image_of(request: HttpRequest) -> tuple[bytes, str]:
    """The image's bytes and its content type by its first bytes, whatever content type the request names.

    Raises:
        HttpError: 400 no image in it, 413 too large, 415 not an image.
    """
    header = request.headers.get("content-type", "application/octet-stream")
    content_type = header.split(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        image = form_file(request.data(), header)
    elif content_type == "application/json":
        image = json_image(request.data())
    elif content_type.startswith("image/") or content_type in (
        "application/octet-stream",
        "application/dicom",
        "application/x-image",
        "application/x-www-form-urlencoded",
    ):
        image = request.data()
    else:
        known = ", ".join(kind["content_type"] for kind in kinds())
        raise HttpError(415, f"content type {content_type[:60]} is not taken; send {known}, a form or JSON")
    if len(image) > limit():
        raise too_large()
    if not image:
        raise HttpError(400, "the image is empty")
    for kind in reversed(kinds()):
        if any(image.startswith(bytes.fromhex(mark), offset) for offset, mark in kind["marks"]):
            return image, kind["content_type"]
    *names, last = (kind["name"] for kind in kinds())
    raise HttpError(415, f"this is not a {', '.join(names)} or {last} image")


def form_file(body: bytes, content_type: str) -> bytes:
    """The file of a multipart form (RFC 7578).

    Raises:
        HttpError: 400, there is none, or several.
    """
    if not (found := _BOUNDARY.search(content_type)):
        raise HttpError(400, "the form has no boundary in its content type")
    boundary = (found[1] or found[2]).encode()
    files = []
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        headers, whole, content = part.partition(b"\r\n\r\n")
        if whole and b"filename" in headers.lower():
            files.append(content)
    if not files:
        raise HttpError(400, "the form holds no file")
    if len(files) > 1:
        raise HttpError(400, f"the form holds {len(files)} files; send one at a time")
    return files[0]


def json_image(body: bytes) -> bytes:
    """The image of {"image": base64}, also as a data URL, as a browser's FileReader writes it.

    Addresses are not followed.
    """
    try:
        stored = json.loads(body)
    except (ValueError, RecursionError):
        raise HttpError(400, "the body is not JSON") from None
    if not isinstance(stored, dict) or not isinstance(stored.get("image"), str) or len(stored) > 1:
        raise HttpError(400, 'JSON must be {"image": base64 of one image}; addresses are not followed')
    text = stored["image"]
    return from_base64(text.partition(",")[2] if text.startswith("data:") else text)
