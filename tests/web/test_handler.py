"""The Lambda as a function: events in, answers out, and what it asks the endpoint."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import handler
import pytest
import requests
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

import images
from hosting import form
from lambda_stand_ins import event
from thorax.data.decoders import content_types

PNG, JPEG = images.data(images.grey()), images.data(images.grey(), "JPEG")
TIFF, DICOM = b"II*\0" + bytes(40), bytes(128) + b"DICM" + bytes(40)


class Runtime:
    """Stands for boto3's client: keeps what it was asked, answers or raises what it was given."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, []

    def invoke_endpoint(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Body": io.BytesIO(self.answer), "ContentType": "application/json"}


@pytest.fixture
def runtime(monkeypatch):
    found = Runtime(b'{"labels": []}')
    monkeypatch.setattr(handler, "runtime", lambda: found)
    monkeypatch.setenv("ENDPOINT_NAME", "chest")
    for name in ("ALLOWED_ORIGIN", "MAX_BYTES", "TIMEOUT_S"):
        monkeypatch.delenv(name, raising=False)
    return found


def post(body: bytes, kind: str | None = "image/png", **more: Any) -> dict[str, Any]:
    headers = {**({"Content-Type": kind} if kind else {}), **more.pop("headers", {})}
    return handler.lambda_handler(event("POST", more.pop("path", "/invocations"), body, headers, **more))


def error(answer: dict[str, Any]) -> tuple[int, str]:
    body = json.loads(answer["body"])
    assert list(body) == ["error"] and "\n" not in body["error"]
    return answer["statusCode"], body["error"]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("path", ["/", "/invocations", "/prod/invocations"])
def test_an_image_goes_to_the_endpoint_as_it_is(runtime, version, path):
    answer = post(PNG, version=version, path=path)
    assert (answer["statusCode"], answer["body"], answer["isBase64Encoded"]) == (200, '{"labels": []}', False)
    assert runtime.asked == [
        {"EndpointName": "chest", "ContentType": "image/png", "Accept": "application/json;verbose", "Body": PNG}
    ]
    assert answer["headers"]["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("image", "kind"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (TIFF, "image/tiff"), (DICOM, "application/dicom")]
)
@pytest.mark.parametrize("expected", ["image/jpeg", "application/octet-stream", None, "application/x-image"])
def test_the_first_bytes_say_what_an_image_is(runtime, image, kind, expected):
    assert post(image, expected)["statusCode"] == 200
    assert runtime.asked[0]["ContentType"] == kind
    assert runtime.asked[0]["Body"] == image


def test_a_form_and_json_hold_an_image(runtime):
    sent, kind = form(("note", None, b"hello"), ("file", "a.png", PNG))
    post(sent, kind)
    post(
        json.dumps({"image": base64.b64encode(JPEG).decode()}).encode(),
        "application/json; charset=utf-8",
        encoded=False,
    )
    assert [asked["Body"] for asked in runtime.asked] == [PNG, JPEG]


def test_json_may_hold_a_data_url(runtime):
    """As a browser's FileReader writes it; image/jpg is the wrong name of image/jpeg that many programs use."""
    url = f"data:image/jpg;base64,{base64.b64encode(JPEG).decode()}"
    assert post(json.dumps({"image": url}).encode(), "application/json", encoded=False)["statusCode"] == 200
    assert post(JPEG, "image/jpg")["statusCode"] == 200
    assert [(asked["Body"], asked["ContentType"]) for asked in runtime.asked] == [(JPEG, "image/jpeg")] * 2


@pytest.mark.parametrize("kind", ["application/json", "image/png"])
def test_an_answer_that_lambda_would_refuse_is_one_line(runtime, monkeypatch, kind):
    large = {"Body": io.BytesIO(bytes(5 * 2**20) if kind == "image/png" else b"1" * 6 * 2**20), "ContentType": kind}
    monkeypatch.setattr(runtime, "invoke_endpoint", lambda **_: large)
    status, message = error(post(PNG))
    assert (status, message[:62]) == (502, "the answer is larger than the 6 MB that come through here; ask")


@given(content=st.binary(max_size=300), field=st.sampled_from(["file", "image"]))
def test_a_form_gives_back_every_byte(content, field):
    """The form is one that a well-kept client writes."""
    request = requests.Request("POST", "http://x", files={field: ("image", content)}).prepare()
    assert handler.form_file(request.body, request.headers["Content-Type"]) == content


def test_options_and_the_wanted_form_are_handed_on(runtime):
    post(PNG, query="explain=true&label=Pleural%20Mass,%20left&other=1", headers={"Accept": "text/csv"})
    assert runtime.asked[0]["CustomAttributes"] == "explain=true&label=Pleural+Mass%2C+left"
    assert runtime.asked[0]["Accept"] == "text/csv"


def test_a_picture_comes_back_in_base64(runtime, monkeypatch):
    monkeypatch.setattr(runtime, "invoke_endpoint", lambda **_: {"Body": io.BytesIO(PNG), "ContentType": "image/png"})
    answer = post(PNG, headers={"Accept": "image/png"})
    assert answer["isBase64Encoded"] is True
    assert base64.b64decode(answer["body"]) == PNG


@pytest.mark.parametrize(
    ("body", "kind", "status", "expected"),
    [
        (b"", "image/png", 400, "the image is empty"),
        (
            b"MZ" + bytes(99),
            "image/png",
            415,
            "this is not a JPEG, PNG, TIFF, PGM, PPM, BMP, GIF, WebP, JPEG 2000 or DICOM image",
        ),
        (b"GIF88a", "image/gif", 415, "this is not a JPEG"),
        (b"<html>", "text/html", 415, "content type text/html is not taken"),
        (b"https://example.org/image.png", "text/plain", 415, "content type text/plain is not taken"),
        (b"{", "application/json", 400, "the body is not JSON"),
        (b"[" * 100_000, "application/json", 400, "the body is not JSON"),
        (b'{"url": "http://169.254.169.254/"}', "application/json", 400, "addresses are not followed"),
        (b'{"s3_uri": "s3://bucket/key"}', "application/json", 400, "addresses are not followed"),
        (b'{"image": "a", "s3_uri": "s3://bucket/key"}', "application/json", 400, "addresses are not followed"),
        (b'{"image": "!!!"}', "application/json", 400, "the base64 is damaged"),
        (form(("a", None, b"x"))[0], "multipart/form-data; boundary=x1y2", 400, "the form holds no file"),
        (b"nonsense", "multipart/form-data", 400, "the form has no boundary"),
        (b"nonsense", "multipart/form-data; boundary=zz", 400, "the form holds no file"),
    ],
)
def test_what_is_no_image_never_reaches_the_endpoint(runtime, body, kind, status, expected):
    found = error(post(body, kind))
    assert found[0] == status
    assert expected in found[1]
    assert runtime.asked == []


def test_damaged_base64_of_the_event(runtime):
    broken = {**event("POST", "/invocations", PNG), "body": "###"}
    assert error(handler.lambda_handler(broken)) == (400, "the base64 is damaged")


@pytest.mark.parametrize("encoded", [True, False])
def test_an_image_over_the_limit(runtime, monkeypatch, encoded):
    monkeypatch.setenv("MAX_BYTES", "1000")
    assert post(PNG[:8] + bytes(992))["statusCode"] == 200
    for size in (993, 90_000):
        status, message = error(
            post(PNG[:8] + bytes(size), encoded=encoded) if encoded else post(b"\x7f" * (size + 1000), encoded=False)
        )
        assert (status, message) == (413, "the image is larger than 0.0 MB; send a smaller one")


def test_an_image_in_json_may_be_as_large_as_any(runtime, monkeypatch):
    """Its base64 is the caller's, as JSON is handed over as text."""
    monkeypatch.setenv("MAX_BYTES", "90000")
    for size, status in ((90_000, 200), (90_001, 413)):
        body = json.dumps({"image": base64.b64encode(PNG[:8] + bytes(size - 8)).decode()}).encode()
        assert post(body, "application/json", encoded=False)["statusCode"] == status


def test_the_default_limit_fits_into_a_lambda_event(runtime):
    """6 MB of JSON, in which the image is base64."""
    assert (
        len(json.dumps(event("POST", "/", bytes(handler.MAX_BYTES), {"Content-Type": "image/png"})))
        < 6 * 2**20 - 100_000
    )


def aws_error(code: str, **more: Any) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "arn:aws:sagemaker:secret"}, **more}, "InvokeEndpoint")


@pytest.mark.parametrize(
    ("raised", "status", "expected", "retry"),
    [
        (aws_error("ThrottlingException"), 429, "too many images at once; try again in a moment", "1"),
        (aws_error("ServiceUnavailable"), 503, "the model is busy; try again in a moment", "2"),
        (aws_error("ModelNotReadyException"), 503, "the model is starting; try again in a moment", "10"),
        (aws_error("ValidationError"), 502, "the model cannot be reached", None),
        (aws_error("AccessDeniedException"), 502, "the model cannot be reached", None),
        (
            aws_error("ModelError", OriginalStatusCode=415, OriginalMessage='{"error": "no image"}'),
            415,
            "no image",
            None,
        ),
        (
            aws_error("ModelError", OriginalStatusCode=400, OriginalMessage="Traceback (most recent call last)"),
            400,
            "Bad Request",
            None,
        ),
        (
            aws_error("ModelError", OriginalStatusCode=429, OriginalMessage="{}"),
            429,
            "the model is busy; try again in a moment",
            "1",
        ),
        (
            aws_error("ModelError", OriginalStatusCode=500, OriginalMessage="Traceback /opt/ml/code"),
            502,
            "the model failed on this image",
            None,
        ),
        (ReadTimeoutError(endpoint_url="https://secret"), 504, "the model took too long; try again", None),
        (ConnectionClosedError(endpoint_url="https://secret"), 502, "the model cannot be reached", None),
        (ZeroDivisionError("secret"), 500, "something went wrong here; it is in the log", None),
    ],
)
def test_the_endpoints_errors_are_passed_on_without_their_details(runtime, raised, status, expected, retry):
    runtime.answer = raised
    answer = post(PNG)
    assert error(answer) == (status, expected)
    assert answer["headers"].get("Retry-After") == retry


def test_trouble_is_in_the_log_and_images_are_not(runtime, capsys):
    runtime.answer = aws_error("AccessDeniedException")
    post(PNG)
    logged = json.loads(capsys.readouterr().out)
    assert logged["kind"] == "ClientError" and "AccessDeniedException" in logged["message"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_page_is_served(runtime, name, kind, version):
    answer = handler.lambda_handler(event("GET", f"/{name}", version=version))
    assert answer["statusCode"] == 200
    assert answer["headers"]["Content-Type"].startswith(kind)
    body = answer["body"] if not answer["isBase64Encoded"] else base64.b64decode(answer["body"]).decode()
    file = handler.PAGES[1] / (name or "index.html")
    assert body == file.read_text(encoding="utf-8")


def test_every_file_of_the_page_is_served():
    assert {file.name for file in handler.PAGES[1].iterdir()} == set(handler.FILES.values())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/../handler.py", 404),
        ("GET", "/page/../../handler.py", 404),
        ("GET", "/etc/passwd", 404),
        ("POST", "/metadata", 404),
        ("PUT", "/", 405),
        ("DELETE", "/", 405),
    ],
)
def test_there_is_nothing_else(runtime, method, path, status):
    assert error(handler.lambda_handler(event(method, path, b"x")))[0] == status
    assert runtime.asked == []


def test_metadata_names_the_limit(runtime, monkeypatch):
    monkeypatch.setenv("MAX_BYTES", "123")
    metadata = json.loads(handler.lambda_handler(event("GET", "/metadata"))["body"])
    assert metadata["limits"] == {"max_request_bytes": 123}
    assert sorted(metadata["content_types"]) == sorted(content_types())


ALLOWED = "https://images.example.org"


@pytest.mark.parametrize(
    ("allowed", "origin", "status", "header"),
    [
        ("", "", 200, None),
        ("", "https://page.test", 200, None),
        ("", "https://evil.test", 403, None),
        ("", "https://page.test.evil.test", 403, None),
        ("", "null", 403, None),
        (ALLOWED, ALLOWED, 200, ALLOWED),
        (ALLOWED, "https://page.test", 200, None),
        (ALLOWED, "https://evil.test", 403, None),
        (ALLOWED, f"{ALLOWED}.evil.test", 403, None),
    ],
)
def test_only_the_page_and_one_other_origin_may_ask(runtime, monkeypatch, allowed, origin, status, header):
    monkeypatch.setenv("ALLOWED_ORIGIN", allowed)
    answer = post(PNG, headers={"Origin": origin} if origin else {})
    assert answer["statusCode"] == status
    assert len(runtime.asked) == (status == 200)
    assert answer["headers"].get("Access-Control-Allow-Origin") == header
    preflight = handler.lambda_handler(event("OPTIONS", "/invocations", headers={"Origin": origin} if origin else {}))
    assert preflight["statusCode"] == (204 if status == 200 else 403)
    assert preflight["headers"].get("Access-Control-Allow-Methods") == ("GET, POST" if header else None)


def test_an_event_without_anything_is_answered(runtime):
    assert handler.lambda_handler({})["statusCode"] == 200  # the page
    assert error(handler.lambda_handler({"httpMethod": "POST"})) == (400, "the image is empty")
