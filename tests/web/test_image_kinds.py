"""One table of image kinds: the decoders'. The page, the Lambda, the server and the clients know what it knows."""

from __future__ import annotations

import json
from pathlib import Path

import handler
import pytest
from PIL import Image

import dicoms
import images
from hosting import form
from lambda_stand_ins import event
from thorax.data.decoders import IMAGE_FORMATS, page_kinds
from thorax.serving.readers import READERS
from thorax_launch.clients import content_type_of

PAGE = Path(handler.__file__).parents[2] / "source_dir/thorax/serving/page"
#: A file of each kind.
FILES = {
    **{name: images.data(images.grey(), name) for name in ("JPEG", "PNG", "TIFF", "BMP", "GIF")},
    "WebP": images.data(images.grey(), "WEBP"),
    "JPEG 2000": images.data(images.grey(), "JPEG2000"),
    "PGM": images.data(Image.fromarray(images.grey()), "PPM"),
    "PPM": images.data(Image.fromarray(images.grey()).convert("RGB"), "PPM"),
    "DICOM": dicoms.dicom(images.grey()),
}  # fmt: skip


def test_the_pages_table_is_the_decoders():
    stored = json.loads((PAGE / "kinds.json").read_text())
    assert stored == json.loads(json.dumps(page_kinds())), "run python docs/image_kinds.py"
    assert {kind["name"] for kind in stored} == set(IMAGE_FORMATS) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_is_known_everywhere(name):
    expected = IMAGE_FORMATS[name].content_type
    assert content_type_of(FILES[name]) == expected and expected in READERS
    for body, kind in (*((FILES[name], kind) for kind in (expected, "image/jpg")), form(("file", "x", FILES[name]))):
        assert taken(body, kind) == (FILES[name], expected)


def taken(body, kind):
    """What the Lambda makes of a request."""
    return handler.image_of(handler.HttpRequest.of(event("POST", "/invocations", body, {"Content-Type": kind})))


def test_dicom_without_a_preamble():
    data = dicoms.dicom(images.grey())[132:]
    assert content_type_of(data) == "application/dicom"
    assert taken(data, "application/dicom") == (data, "application/dicom")


def test_a_preamble_that_looks_like_a_tiff_is_a_dicom():
    data = b"II*\0" + dicoms.dicom(images.grey())[4:]
    assert content_type_of(data) == "application/dicom"
    assert taken(data, "image/tiff")[1] == "application/dicom"
