"""What is wrong with an event, a header or the endpoint's answer: one line, 4xx, or 502 to 504; never an exception."""

from __future__ import annotations

import base64
import io
import json
import os
from typing import Any

import handler
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError, ResponseStreamingError
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from hosting import form
from lambda_stand_ins import FixedRuntime, error, event

#: FUZZ_CASES=100000 tries other ones.
CASES = int(os.environ.get("FUZZ_CASES", "0"))
PNG = images.data(images.grey())
IN_JSON = json.dumps({"image": base64.b64encode(PNG).decode()}).encode()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"headers": []}, (400, "headers is no JSON object")),
        ({"headers": {"Content-Type": 7}}, (400, "headers is no text")),
        ({"multiValueHeaders": {"a": "b"}}, (400, "multiValueHeaders has no lists")),
        ({"queryStringParameters": "label=Mass"}, (400, "queryStringParameters is no JSON object")),
        ({"requestContext": ["http"]}, (400, "requestContext is no JSON object")),
        ({"requestContext": {"http": "POST"}}, (400, "requestContext.http is no JSON object")),
        ({"body": {"image": "x"}}, (400, "body is no text")),
        ({"rawPath": 5}, (400, "path is no text")),
        ({"body": None}, (400, "the image is empty")),
        ({"body": "###"}, (400, "the base64 is damaged")),
        ({"body": "\ud800"}, (400, "the base64 is damaged")),
        ({"body": "A" * 9_000_000}, (413, "the image is larger than 4.4 MB; send a smaller one")),
        ({"isBase64Encoded": False, "body": "\udfff"}, (415, "this is not a JPEG")),
    ],
)
def test_an_event_that_is_none_is_refused_in_a_line(runtime, change, expected):
    answer = error(handler.lambda_handler({**event("POST", "/", PNG, {"Content-Type": "image/png"}), **change}))
    assert (answer[0], answer[1][: len(expected[1])]) == expected
    assert runtime.asked == []


@pytest.mark.parametrize("whole", [None, [], "text", 7, {"version": "2.0"}, {"requestContext": None, "headers": None}])
def test_a_whole_event_that_is_none(runtime, whole):
    assert handler.lambda_handler(whole)["statusCode"] in (200, 400)  # an empty one asks for the page


@pytest.mark.parametrize(
    ("name", "text", "status"),
    [
        ("Origin", "http://[", 403),
        ("Origin", "\ud800", 403),
        ("Accept", "text/plain\r\nX-Amzn-SageMaker-Target-Model: x", 400),
        ("Accept", "텍스트/plain", 400),
        ("Accept", "\ud800", 400),
        ("Accept", "a" * 2000, 400),
        ("Accept", "*/*," * 125, 200),
        ("Content-Type", "multipart/form-data; boundary=\udc80", 400),
        ("Content-Type", "multipart/form-data; boundary*=utf-8''%ff", 400),
        ("Content-Type", "multipart/form-data; boundary=", 400),
        ("Content-Type", "multipart/form-data; boundary=" + "x" * 300, 400),
        ("Content-Type", "\x1b[2J\n\ud800", 415),
    ],
)
def test_odd_headers(runtime, name, text, status):
    answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png", name: text}))
    assert answer["statusCode"] == status
    if status == 200:
        assert len(runtime.asked[0]["Accept"]) <= 1024
    else:
        error(answer)


@pytest.mark.parametrize(
    ("label", "status"), [("\ud800", 200), ("肺" * 100, 200), ("肺" * 200, 400), ("x" * 5000, 400)]
)
def test_odd_labels_stay_within_what_sagemaker_takes(runtime, label, status):
    sent = event("POST", "/", PNG, {"Content-Type": "image/png"})
    answer = handler.lambda_handler({**sent, "queryStringParameters": {"label": label, "explain": "true"}})
    assert answer["statusCode"] == status
    assert all(a["CustomAttributes"].isascii() and len(a["CustomAttributes"]) <= 1024 for a in runtime.asked)


NUMBER = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
HIDDEN = f"the model refused the request; its reason is in the log (request {NUMBER})"


class Context:
    """What Lambda hands over beside the event."""

    def __init__(self, aws_request_id: Any) -> None:
        self.aws_request_id = aws_request_id


def refused_by_the_model(line: Any, status: Any = 400) -> ClientError:
    message = line if isinstance(line, bytes) else json.dumps({"error": line})
    about = {"Error": {"Code": "ModelError"}, "OriginalStatusCode": status, "OriginalMessage": message}
    return ClientError(about, "InvokeEndpoint")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("content type text/html is not read here; send one of image/jpeg", None),
        ("label N/A is not one of Edema, Mass", None),
        ("the image has 60000x60000 pixels, more than the 50000000 that this server reads", None),
        ("/opt/ml/model/code/thorax/x.py failed", HIDDEN),
        ("cannot read:/model.pt", HIDDEN),
        ("cannot read '~/x/y'", HIDDEN),
        ("cannot read ../../etc/passwd", HIDDEN),
        (r"cannot read C:\models\x", HIDDEN),
        (r"cannot read \\host\share", HIDDEN),
        ("file:///etc/passwd", HIDDEN),
        ("arn:aws:iam::123456789012:role/x", HIDDEN),
        ('Traceback (most recent call last): File "x.py"', HIDDEN),
        ("cannot read s3://films/thorax/one/a.png", HIDDEN),
        ("films.s3.amazonaws.com cannot be reached", HIDDEN),
        ("no answer of https://10.0.0.7:8080/x", HIDDEN),
        ("no answer of ip-10-0-0-7.eu-west-1.compute.internal", HIDDEN),
        ("no answer of 10.0.0.7", HIDDEN),
        ("account 123456789012 may not", HIDDEN),
        ("AKIAIOSFODNN7EXAMPLE is expired", HIDDEN),
        ("RuntimeError: CUDA error", HIDDEN),
        ("opt/ml/model is full", HIDDEN),
        ("//host/share is full", HIDDEN),
        ("label //x is not one of Edema", HIDDEN),
        ("normalized=true with an array of uint8; send floats", None),
        ("content type text/x is not read here; send one of application/x-npy, application/json;verbose", None),
        ("the image is 12.5 times as wide as high", None),
        ("two\nlines \x1b[2J and \ud800 more", "two lines [2J and more"),
        (["a", {}], "['a', {}]"),
        (b"\xff\xfe", "Bad Request"),
    ],
)
def test_of_the_models_line_no_path_goes_on(runtime, capsys, line, shown):
    runtime.answer = refused_by_the_model(line)
    answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png"}), Context(NUMBER))
    assert error(answer) == (400, shown or line)
    assert bool(log := capsys.readouterr().out) == (shown == HIDDEN)  # it is in the log, with the model's own line
    assert not log or json.dumps({"error": line}) in json.loads(log)["message"]
    assert not log or json.loads(log)["request"] == NUMBER


@pytest.mark.parametrize("number", [None, 7, "", "a b", "x" * 100, "\n", "<script>"])
def test_a_number_that_is_none_is_left_out(runtime, number):
    runtime.answer = refused_by_the_model("/opt/ml/x")
    answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png"}), Context(number))
    assert error(answer) == (400, "the model refused the request; its reason is in the log")


def test_what_failed_at_aws_is_found_by_its_number(runtime, capsys):
    runtime.answer = ClientError({"Error": {"Code": "ValidationError", "Message": "secret"}}, "InvokeEndpoint")
    answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png"}), Context(NUMBER))
    assert error(answer) == (502, f"the model cannot be reached (request {NUMBER})")
    assert json.loads(capsys.readouterr().out)["request"] == NUMBER


@pytest.mark.parametrize("status", [499, 460, 0, -1, None, "400", 200, 301])
def test_a_status_of_the_models_that_is_none(runtime, status):
    runtime.answer = refused_by_the_model("no", status)
    answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png"}))
    assert error(answer) == (502, "the model failed on this image")


class Broken(io.BytesIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def read(self, *_: Any) -> bytes:
        raise self.error


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (Broken(ReadTimeoutError(endpoint_url="https://secret")), "application/json", (504, "the model took too long")),
        (Broken(ResponseStreamingError(error="secret")), "application/json", (502, "the model cannot be reached")),
        (b"1" * 7 * 2**20, "text/csv", (502, "the answer is larger than the 6 MB")),
    ],
)
def test_an_answer_that_breaks_off(runtime, body, kind, expected):
    runtime.answer, runtime.kind = body, kind
    status, line = error(handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png"})))
    assert (status, line[: len(expected[1])]) == expected


def test_json_that_is_no_text_goes_on_as_bytes(runtime):
    runtime.answer = b'"\xff"'
    answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png"}))
    assert (answer["statusCode"], base64.b64decode(answer["body"])) == (200, b'"\xff"')


def test_a_lambda_without_an_endpoint(monkeypatch):
    monkeypatch.setenv("ENDPOINT_NAME", "")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "http://127.0.0.1:9")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "x")
    handler.runtime.cache_clear()
    answer = handler.lambda_handler(event("POST", "/", PNG, {"Content-Type": "image/png"}))
    handler.runtime.cache_clear()
    assert error(answer) == (502, "the model cannot be reached")


# -- Anything at all

texts = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(categories=("Cs", "Cc", "L")), max_size=20),
    st.sampled_from(["", "/", "/prod", "*", "https://a.org", "http://[", "*/*", "image/png", "true", "POST", "GET"]),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
KEYS = ("headers", "multiValueHeaders", "queryStringParameters", "multiValueQueryStringParameters", "body", "path")
KEYS += ("requestContext", "rawPath", "httpMethod", "isBase64Encoded", "version", "resource", "routeKey")
header_names = st.sampled_from(["Content-Type", "accept", "Origin", "host", "X-Other"])
kinds = st.sampled_from(["image/png", "application/json", "multipart/form-data; boundary=x1y2", "text/plain", ""])
bodies = st.one_of(
    st.sampled_from([PNG, IN_JSON, form(("f", "a.png", PNG))[0], b"", b"\x89PNG\r\n\x1a\n", b'{"image": "a"}']),
    st.binary(max_size=60),
)


@st.composite
def events(draw: st.DrawFn) -> Any:
    """A good event, some of whose parts are anything; or anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(values)
    method = draw(st.sampled_from(["POST"] * 4 + ["GET", "OPTIONS", "HEAD", "PUT"]))
    path = draw(st.sampled_from(["/", "/invocations", "/prod", "/metadata", "/page.js"]) | texts)
    headers = {"Content-Type": draw(kinds | texts)} | draw(st.dictionaries(header_names, texts, max_size=3))
    version, encoded = draw(st.sampled_from(["1.0", "2.0"])), draw(st.booleans())
    found = event(method, path, draw(bodies), headers, version=version, encoded=encoded)
    found["requestContext"] |= draw(st.dictionaries(st.sampled_from(["stage", "domainName", "path"]), texts))
    found["queryStringParameters"] = draw(st.none() | st.dictionaries(st.sampled_from(["label", "explain"]), texts))
    found |= draw(st.dictionaries(st.sampled_from(KEYS), values, max_size=2))
    if draw(st.integers(0, 4)) == 0:  # keys that are not there; a load balancer's event lists every header
        found.pop(draw(st.sampled_from([*KEYS, "headers", "headers"])), None)
        found |= {"multiValueHeaders": {"content-type": ["image/png"]}} if "headers" not in found else {}
    return found


model_lines = st.one_of(values, st.just("/opt/ml/model/secret.pt is damaged"), texts)
model_answers = st.one_of(
    st.binary(max_size=20),
    st.tuples(model_lines, st.integers(100, 599)).map(lambda drawn: refused_by_the_model(*drawn)),
    st.sampled_from(["ThrottlingException", "ValidationError", "x"]).map(
        lambda code: ClientError({"Error": {"Code": code, "Message": "/opt/ml/secret"}}, "InvokeEndpoint")
    ),
    st.sampled_from([ReadTimeoutError(endpoint_url="secret"), ResponseStreamingError(error="secret")]),
)


@settings(max_examples=CASES or 300, derandomize=not CASES, database=None)
@given(
    sent=events(),
    answer=model_answers,
    allowed=st.sampled_from(["", "https://a.org, https://b.org", "*"]),
    number=st.none() | texts,
)
def test_always_a_response_that_api_gateway_takes(sent, answer, allowed, number):
    with pytest.MonkeyPatch.context() as patch:
        runtime = FixedRuntime()
        runtime.answer = answer
        patch.setattr(handler, "runtime", lambda: runtime)
        patch.setattr(handler, "log", lambda *_: None)
        patch.setenv("ENDPOINT_NAME", "chest")
        patch.setenv("ALLOWED_ORIGIN", allowed)
        found = handler.lambda_handler(sent, Context(number))
    lists = found.pop("multiValueHeaders", None)
    assert lists in (None, {name: [text] for name, text in found["headers"].items()})
    assert set(found) == {"statusCode", "headers", "body", "isBase64Encoded"}
    assert isinstance(found["body"], str) and isinstance(found["isBase64Encoded"], bool)
    assert all(isinstance(name, str) and isinstance(text, str) for name, text in found["headers"].items())
    assert all(text.isascii() and text.isprintable() for text in found["headers"].values())
    status = found["statusCode"]
    assert 200 <= status < 300 or 400 <= status < 500 or (runtime.asked and status in (502, 503, 504)), found
    json.dumps(found, ensure_ascii=False).encode()  # as Lambda sends it on
    if status >= 400:
        line = json.loads(found["body"])["error"]
        assert line and line.isprintable() and "secret" not in line
    for asked in runtime.asked:
        assert asked["Accept"].isascii() and len(asked["Accept"]) <= 1024
