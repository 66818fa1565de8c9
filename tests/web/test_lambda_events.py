"""The Lambda behind every kind of API, asked in the forms of the original projects, from other sites' pages."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import handler
import pytest

import images
from hosting import form
from lambda_stand_ins import error, event

PNG = images.data(images.grey())
IN_JSON = json.dumps({"image": base64.b64encode(PNG).decode()}).encode()


# -- Every kind of API


def at_stage(path: str, version: str = "2.0", method: str = "POST", body: bytes = PNG, **more: Any) -> dict[str, Any]:
    """What AWS hands over for https://API/prod + path: of an HTTP API the path has the stage, of a REST API not."""
    headers = {"Content-Type": "image/png"} if body else {}
    found = event(method, f"/prod{path}" if version == "2.0" else path or "/", body, headers, version=version)
    found["requestContext"] |= {"stage": "prod"}
    if version == "1.0":
        found["requestContext"]["path"] = f"/prod{path}"
        found |= {"resource": "/" if path in ("", "/") else "/{proxy+}"}
    else:
        found |= {"routeKey": "$default"}
    return {**found, **more}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("path", ["", "/", "/invocations"])
def test_an_image_posted_to_a_stage(runtime, version, path):
    """POST /prod, as the page of the second project and the API of the third do."""
    assert handler.lambda_handler(at_stage(path, version))["statusCode"] == 200
    assert [asked["Body"] for asked in runtime.asked] == [PNG]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("path", ["/metadata", "/production", "/other"])
def test_a_stage_makes_no_other_path_right(runtime, version, path):
    assert error(handler.lambda_handler(at_stage(path, version)))[0] == 404
    assert runtime.asked == []


@pytest.mark.parametrize(
    ("version", "route"), [("1.0", {"resource": "/classify"}), ("2.0", {"routeKey": "POST /classify"})]
)
def test_a_route_of_the_operators_own(runtime, version, route):
    assert handler.lambda_handler(at_stage("/classify", version, **route))["statusCode"] == 200
    assert error(handler.lambda_handler(at_stage("/classify", version)))[0] == 404


def test_a_function_url(runtime):
    found = event("POST", "/", PNG, {"content-type": "image/png"}, host="abc.lambda-url.eu-west-1.on.aws")
    found["requestContext"] |= {"stage": "$default"}
    assert handler.lambda_handler({**found, "routeKey": "$default"})["statusCode"] == 200


def test_a_load_balancer_that_lists_every_header(runtime):
    found = {
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "httpMethod": "POST",
        "path": "/invocations",
        "multiValueHeaders": {"content-type": ["image/png"], "accept": ["text/csv", "text/plain;q=0.1"]},
        "multiValueQueryStringParameters": {"label": ["Mass"]},
        "body": base64.b64encode(PNG).decode(),
        "isBase64Encoded": True,
    }
    answer = handler.lambda_handler(found)
    assert answer["statusCode"] == 200
    assert answer["multiValueHeaders"] == {name: [text] for name, text in answer["headers"].items()}  # else it says 502
    assert runtime.asked[0]["Accept"] == "text/csv, text/plain;q=0.1"
    assert runtime.asked[0]["CustomAttributes"] == "label=Mass"


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize(("path", "base"), [("", '<base href="/prod/">'), ("/", "")])
def test_the_page_finds_its_files_under_a_stage(runtime, version, path, base):
    """Of https://API/prod, without the last slash, page.js would be looked for at https://API/page.js."""
    answer = handler.lambda_handler(at_stage(path, version, "GET", b""))
    text = answer["body"]
    assert (answer["statusCode"], re.findall("<base .*?>", text)) == (200, [base] if base else [])
    assert f"base-uri {chr(39)}{'self' if base else 'none'}{chr(39)}" in text
    script = handler.lambda_handler(at_stage("/page.js", version, "GET", b""))
    assert script["headers"]["Content-Type"] == "text/javascript; charset=utf-8"


# -- The originals' forms


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PNG, "application/x-image"),
        (PNG, "image/jpeg"),
        (PNG, "application/x-www-form-urlencoded"),  # curl --data-binary
        (PNG, None),
        (IN_JSON, "application/json"),
        (IN_JSON, "Application/JSON; charset=utf-8"),
        (json.dumps({"image": base64.encodebytes(PNG).decode()}).encode(), "application/json"),
        (json.dumps({"image": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}).encode(), "application/json"),
        form(("file", "a.png", PNG)),
        form(("note", None, b"left lung"), ("file", "a.png", PNG)),
        form(("image", "blob", PNG), boundary="----WebKitFormBoundary7MA4YWxkTrZu0gW"),
        (form(("file", "a.png", PNG))[0], 'multipart/form-data; charset=utf-8; boundary="x1y2"'),
        (form(("file", "a.png", PNG))[0], "multipart/form-data;BOUNDARY=x1y2; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_every_form_arrives_byte_for_byte(runtime, body, kind, version):
    """In base64, as an HTTP API sends what is no text and a REST API with the binary media type */* sends all."""
    headers = {"Content-Type": kind} if kind else {}
    assert handler.lambda_handler(event("POST", "/", body, headers, version=version))["statusCode"] == 200
    assert [(asked["Body"], asked["ContentType"]) for asked in runtime.asked] == [(PNG, "image/png")]


def test_json_in_base64_may_hold_the_largest_image(runtime, monkeypatch):
    monkeypatch.setenv("MAX_BYTES", "90000")
    for size, status in ((90_000, 200), (90_001, 413)):
        body = json.dumps({"image": base64.b64encode(PNG[:8] + bytes(size - 8)).decode()}).encode()
        sent = event("POST", "/", body, {"Content-Type": "application/json"})
        assert handler.lambda_handler(sent)["statusCode"] == status


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=x1y2"])
def test_a_rest_api_that_damages_images_is_told_apart(runtime, kind):
    """Without binary media types API Gateway makes text of an image; no image is in it any more."""
    body = PNG if kind == "image/png" else form(("file", "a.png", PNG))[0]
    answer = handler.lambda_handler(event("POST", "/", body, {"Content-Type": kind}, version="1.0", encoded=False))
    assert error(answer) == (
        400,
        "the image came as text, which damages it: the API's binary media types must have */*",
    )


def test_a_form_of_several_files_is_not_cut_down_in_silence(runtime):
    body, kind = form(("a", "a.png", PNG), ("b", "b.png", PNG))
    answer = handler.lambda_handler(event("POST", "/", body, {"Content-Type": kind}))
    assert error(answer) == (400, "the form holds 2 files; send one at a time")


@pytest.mark.parametrize(
    ("variable", "accept", "wanted"),
    [
        (None, None, "application/json;verbose"),
        (None, "*/*", "application/json;verbose"),
        (None, "text/html, */*;q=0.8", "text/html, application/json;verbose;q=0.8"),
        ("text/plain", "*/*", "text/plain"),
        ("text/plain", None, "text/plain"),
        ("text/plain", "application/json", "application/json"),
        ("", "*/*", "application/json;verbose"),
    ],
)
def test_what_a_caller_gets_who_takes_anything(runtime, monkeypatch, variable, accept, wanted):
    if variable is not None:
        monkeypatch.setenv("ANSWER", variable)
    sent = event("POST", "/", PNG, {"Content-Type": "image/png", **({"Accept": accept} if accept else {})})
    assert handler.lambda_handler(sent)["statusCode"] == 200
    assert runtime.asked[0]["Accept"] == wanted


# -- Other sites


@pytest.mark.parametrize("setting", ["https://a.org,https://b.org:8443", " https://a.org/  HTTPS://B.org:8443 "])
@pytest.mark.parametrize(
    ("origin", "echoed"),
    [("https://a.org", True), ("https://b.org:8443", True), ("https://b.org", False), ("https://a.org.evil", False)],
)
def test_each_of_several_sites_may_ask(runtime, monkeypatch, setting, origin, echoed):
    monkeypatch.setenv("ALLOWED_ORIGIN", setting)
    headers = {"Content-Type": "image/png", "Origin": origin}
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for method, body, sent, good in (("POST", PNG, headers, 200), ("OPTIONS", b"", preflight, 204)):
        answer = handler.lambda_handler(event(method, "/prod/invocations", body, sent))
        assert answer["statusCode"] == (good if echoed else 403)
        assert answer["headers"]["Vary"] == "Origin"
        assert answer["headers"].get("Access-Control-Allow-Origin") == (origin if echoed else None)
        assert ("Access-Control-Allow-Headers" in answer["headers"]) is echoed


def test_any_site_may_ask_where_the_operator_says_so(runtime, monkeypatch):
    monkeypatch.setenv("ALLOWED_ORIGIN", "*")
    for origin in ("null", "https://x.org", "http://["):
        answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png", "Origin": origin}))
        assert (answer["statusCode"], answer["headers"]["Access-Control-Allow-Origin"]) == (200, "*")


def test_errors_can_be_read_by_the_page_of_another_site(runtime, monkeypatch):
    monkeypatch.setenv("ALLOWED_ORIGIN", "https://a.org")
    answer = handler.lambda_handler(event("POST", "/", b"x", {"Content-Type": "image/png", "Origin": "https://a.org"}))
    assert (answer["statusCode"], answer["headers"]["Access-Control-Allow-Origin"]) == (415, "https://a.org")
