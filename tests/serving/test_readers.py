"""What a request may hold, and the error of each mistake."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import dicoms
import images
from hosting import base64_of, form, npy
from thorax.data.images import DecodeError, decode
from thorax.serving import pipeline
from thorax.serving.request import RawRequest, RequestError, ResponseOptions
from thorax.serving.settings import ServerSettings

PNG = images.data(images.grey())
FILES = (
    "image/jpeg",
    "image/png",
    "image/tiff",
    "application/dicom",
    "application/x-image",
    "application/octet-stream",
)
SMALL = ServerSettings(
    max_request_bytes=20_000, max_images=3, max_pixels=3_000, s3_prefixes=("s3://images/open", "s3://all")
)


def read(body, content_type, **more):
    return pipeline.read(RawRequest(body, content_type, **more), SMALL)


def refused(body, content_type):
    with pytest.raises(RequestError) as caught:
        read(body, content_type)
    assert "\n" not in str(caught.value)
    return caught.value.status, str(caught.value)


@pytest.mark.parametrize("content_type", [*FILES, "IMAGE/PNG", "image/png; charset=binary", "", None])
def test_a_file_is_taken_as_it_is(content_type):
    request = read(PNG, content_type)
    assert (request.images, request.several, request.options) == ([PNG], False, ResponseOptions())


@pytest.mark.parametrize(
    ("shape", "several"),
    [((9, 8), False), ((9, 8, 3), False), ((2, 9, 8), True), ((1, 9, 8), True), ((2, 9, 8, 3), True), ((3, 3), False)],
)
def test_arrays(shape, several):
    values = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    for array in (values, np.asfortranarray(values)):
        request = read(npy(array), "application/x-npy")
        assert request.several is several
        np.testing.assert_array_equal(np.stack(request.images) if several else request.images[0], values)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros(5), "shape (5,) is no image"),
        (np.zeros((1, 2, 2, 2)), "shape (1, 2, 2, 2) is no image"),
        (np.zeros((0, 5)), "shape (0, 5) is no image"),
        (np.zeros((2, 2), "c8"), "complex64 is not read"),
        (np.zeros((2, 2), "i4"), "int32 is not read"),
        (np.zeros((2, 2), "U3"), "<U3 is not read"),
        (np.zeros((2, 2), "M8[s]"), "is not read"),
        (np.zeros((2, 2), bool), "bool is not read"),
        (np.zeros((2, 2), "i4,f4"), "is not read"),
    ],
)
def test_arrays_that_are_no_images(array, expected):
    status, message = refused(npy(array), "application/x-npy")
    assert status == 400 and expected in message


def test_an_array_that_says_more_than_it_holds():
    good = npy(images.grey())
    assert "says (40, 48) of uint8, but 1820 bytes follow" in refused(good[:-100], "application/x-npy")[1]
    assert "but 1921 bytes follow" in refused(good + b"x", "application/x-npy")[1]


def test_more_images_than_allowed():
    four = npy(np.zeros((4, 3, 2), np.uint8))
    assert refused(four, "application/x-npy") == (
        413,
        "4 images are more than the 3 of one request; send several requests",
    )
    assert refused(json.dumps({"images": [""] * 4}).encode(), "application/json")[0] == 413
    assert refused(form(*[("f", "f", b"x")] * 4)[0], "multipart/form-data; boundary=x1y2")[0] == 413
    assert refused(form(*[("f", "f", b"x")] * 40)[0], "multipart/form-data; boundary=x1y2")[0] == 400


def test_too_many_bytes_and_too_many_pixels():
    assert refused(b"x" * 20_001, "image/png") == (
        413,
        "the body is larger than 20000 bytes; send a smaller image, or fewer at once",
    )
    assert (
        str(read(images.data(np.zeros((60, 51), np.uint8)), "image/png").images[0])
        == "the image has 51x60 pixels, more than the 3000 that this server reads"
    )
    with pytest.raises(
        DecodeError, match="it claims more than the 67108864 pixels"
    ):  # what the header check leaves to the decoder
        decode(read(images.huge(60_000, 60_000), "image/png").images[0], "the image")


@pytest.mark.parametrize("kind", ["npy", "pgm", "dicom"])
def test_too_many_pixels_of_any_kind(kind):
    pixels = np.zeros((60, 51), np.uint8)
    made = {
        "npy": lambda: npy(pixels),
        "pgm": lambda: b"P5\n51 60\n255\n" + pixels.tobytes(),
        "dicom": lambda: dicoms.dicom(pixels),
    }[kind]()
    content_type = "application/x-npy" if kind == "npy" else "application/octet-stream"
    assert (
        str(read(made, content_type).images[0])
        == "the image has 51x60 pixels, more than the 3000 that this server reads"
    )


@pytest.mark.parametrize("text", [base64_of(PNG), "data:image/png;base64," + base64_of(PNG)])
def test_an_image_in_json(text):
    request = read(
        json.dumps({"image": text, "explain": True, "label": "Mass"}).encode(), "application/json; charset=utf-8"
    )
    assert (request.images, request.several, request.options) == ([PNG], False, ResponseOptions(True, "Mass"))


def test_images_in_json_each_with_its_own_problem():
    request = read(json.dumps({"images": [base64_of(PNG), "?", 7]}).encode(), "application/json")
    assert request.several
    assert request.images[0] == PNG
    assert [str(image).split(":")[0] for image in request.images[1:]] == [
        '"image 1" is not base64',
        '"image 2" must be a text, an image in base64',
    ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "the body is empty; send an image"),
        (b"[]", 'the JSON must be {"image": base64}'),
        (b"{}", "the JSON must be"),
        (b'"image"', "the JSON must be"),
        (b'{"image": "", "images": []}', "the JSON must be"),
        (b'{"images": {}}', '"images" must be a list'),
        (b'{"images": []}', "the request holds no image"),
        (b'{"image": "", "explain": "maybe"}', "explain=maybe must be true or false"),
        (b'{"image": "", "label": 3}', "label must be the name"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b"[" * 10_000, "it is nested too deeply"),
    ],
)
def test_json_that_does_not_fit(body, expected):
    status, message = refused(body, "application/json")
    assert status == 400 and expected in message


def test_a_form_of_files_and_fields():
    odd = b"\r\n--x1y \r\n\r\n\x00--\r"
    body, kind = form(("a", "a.png", PNG), ("label", None, b"Mass"), ("b", "", odd))
    request = read(body, kind)
    assert (request.images, request.several, request.options) == ([PNG, odd], True, ResponseOptions(True, "Mass"))
    assert not read(*form(("a", "a.png", PNG), ("explain", None, b"false"))).several


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"x", "multipart/form-data", "needs a boundary"),
        (b"x", "multipart/form-data; boundary=a", "cut off"),
        (b"--a--", "multipart/form-data; boundary=a", "no image"),
        (form(("a", None, b"x"))[0], "multipart/form-data; boundary=x1y2", "neither a file nor one of the fields"),
        (b"--a\r\nno end", "multipart/form-data; boundary=a", "no headers, or is cut off"),
        (form(("a", "f", PNG))[0][:-4], "multipart/form-data; boundary=x1y2", "cut off"),
    ],
)
def test_forms_that_do_not_fit(body, kind, expected):
    status, message = refused(body, kind)
    assert status == 400 and expected in message


@pytest.mark.parametrize(
    "content_type", ["text/html", "image/heic", "application/x-python-serialize", "nonsense", "a" * 5000]
)
def test_other_content_types(content_type):
    status, message = refused(PNG, content_type)
    assert status == 415 and len(message) < 500
    assert message.startswith(f"content type {content_type[:100]}") and "send one of image/jpeg, image/png" in message


# --- options


@pytest.mark.parametrize(
    ("query", "attributes", "want"),
    [
        ("", "", ResponseOptions()),
        ("explain=true", "", ResponseOptions(True)),
        ("explain=1&label=Mass", "", ResponseOptions(True, "Mass")),
        ("", "explain=TRUE", ResponseOptions(True)),
        ("", "explain=true,label=Mass", ResponseOptions(True, "Mass")),
        ("", "explain=true; label=Mass", ResponseOptions(True, "Mass")),
        ("explain", "", ResponseOptions(True)),
        ("label=Pleural%20Thickening", "", ResponseOptions(None, "Pleural Thickening")),
        ("explain=false", "explain=true", ResponseOptions(False)),
        ("other=7", "trace", ResponseOptions()),
    ],
)
def test_options_of_query_and_attributes(query, attributes, want):
    assert ResponseOptions.of(query, attributes) == want


def test_fields_of_the_body_win():
    body = json.dumps({"image": base64_of(PNG), "label": "Mass"}).encode()
    assert read(body, "application/json", options=ResponseOptions(True, "Nodule")).options == ResponseOptions(
        True, "Mass"
    )
    assert read(PNG, "image/png", options=ResponseOptions(True, "Nodule")).options == ResponseOptions(True, "Nodule")
    declined = json.dumps({"image": base64_of(PNG), "explain": False}).encode()
    assert read(declined, "application/json", options=ResponseOptions(True)).options == ResponseOptions(False)


def test_a_label_asks_for_its_heat_map_unless_that_is_declined():
    assert read(PNG, "image/png", options=ResponseOptions.of("label=Mass")).options.explain
    assert not read(PNG, "image/png", options=ResponseOptions.of("explain=false&label=Mass")).options.explain


# --- S3


class S3:
    """What boto3.client("s3") is asked for, and gives."""

    def __init__(self, stored: dict[tuple[str, str], bytes]) -> None:
        self.stored, self.asked = stored, []

    def client(self, service, config):
        return self

    def get_object(self, Bucket, Key):  # noqa: N803
        self.asked.append((Bucket, Key))
        if (Bucket, Key) not in self.stored:
            raise type("ClientError", (Exception,), {"response": {"Error": {"Code": "NoSuchKey"}}})("secret request id")
        body = self.stored[Bucket, Key]
        return {"ContentLength": len(body), "Body": SimpleNamespace(read=lambda most: body[:most])}


@pytest.fixture
def s3(monkeypatch) -> S3:
    stored = S3({("images", "open/a.png"): PNG, ("all", "b/c.png"): PNG, ("images", "open/large"): b"x" * 20_001})
    monkeypatch.setitem(sys.modules, "boto3", stored)
    monkeypatch.setitem(sys.modules, "botocore", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "botocore.config", SimpleNamespace(Config=lambda **_: None))
    return stored


@pytest.mark.parametrize("uri", ["s3://images/open/a.png", "s3://all/b/c.png"])
def test_an_image_of_an_allowed_place_in_s3(s3, uri):
    assert read(json.dumps({"s3_uri": uri}).encode(), "application/json").images == [PNG]


@pytest.mark.parametrize(
    ("uri", "status", "expected"),
    [
        ("s3://images/secret/a.png", 403, "may not read"),
        ("s3://images/openly/a.png", 403, "may not read"),
        ("s3://allies/b.png", 403, "may not read"),
        ("http://169.254.169.254/latest/meta-data", 400, "must be s3://bucket/key"),
        ("file:///etc/passwd", 400, "must be s3://"),
        ("s3://images", 400, "must be s3://"),
        (7, 400, "must be s3://"),
        (None, 400, "must be s3://"),
    ],
)
def test_places_that_are_not_read_are_not_asked(s3, uri, status, expected):
    found, message = refused(json.dumps({"s3_uri": uri}).encode(), "application/json")
    assert (found, s3.asked) == (status, []) and expected in message


def test_what_s3_refuses_or_is_too_large(s3):
    gone = refused(b'{"s3_uri": "s3://images/open/gone"}', "application/json")
    assert gone == (400, "the image at s3_uri cannot be read from S3: NoSuchKey")
    assert refused(b'{"s3_uri": "s3://images/open/large"}', "application/json")[0] == 413


def test_without_boto3(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert refused(b'{"s3_uri": "s3://all/b/c.png"}', "application/json") == (
        400,
        '"s3_uri" needs boto3 on the server: pip install boto3',
    )
