"""Hostile requests: always 2xx or 4xx with one line, in bounded memory, and the server answers rightly after.

5,000 cases, the same every time; FUZZ_CASES=100000 tries other ones.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import images
from hosting import base64_of, form, npy
from thorax.serving.readers import READERS
from thorax.serving.writers import WRITERS

CASES = int(os.environ.get("FUZZ_CASES", "0"))


def zipped() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(3))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("b.npy", pickle.dumps(object))
    return out.getvalue()


def header(text: str, rest: bytes = b"") -> bytes:
    """A .npy file whose header is any text."""
    raw = text.encode("latin-1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + (len(raw) % 65536).to_bytes(2, "little") + raw + rest


GREY = images.grey(24, 28)
GOOD = {
    "png": images.data(GREY),
    "jpeg": images.data(GREY, "JPEG"),
    "wide": images.data(GREY.astype(np.uint16) * 257),
    "gif": images.data(GREY, "GIF"),
    "colour": images.data(np.dstack([GREY] * 4)),
    "turned": images.turned(GREY, 6),
    "tiff": images.data(GREY, "TIFF"),
    "bmp": images.data(GREY, "BMP"),
    "huge": images.huge(60_000, 60_000),
    "tall": images.huge(1, 2**31 - 1),
    "just too large": images.huge(2_000, 1_001),
    "nothing": images.huge(0, 0),
    "npy": npy(GREY),
    "batch": npy(np.stack([GREY] * 3)),
    "floats": npy(GREY / 255),
    "nan": npy(np.full((5, 5), np.nan, np.float16)),
    "fortran": npy(np.asfortranarray(GREY)),
    "big end": npy(GREY.astype(">u2")),
    "texts": npy(np.array(["a", "bc"])),
    "zip": zipped(),
    "object": npy(np.array([[print]], dtype=object), allow_pickle=True),
    "pickle": pickle.dumps({"a": os.getcwd}),
    "record": npy(np.zeros(3, "i4,f4")),
    "vast": header("{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999, 99999999999), }"),
    "negative": header("{'descr': '|u1', 'fortran_order': False, 'shape': (-4, -6), }", b"x" * 24),
    "call": header("__import__('os').getcwd()"),
    "deep header": header("(" * 900),
    "empty": b"",
    "zero": b"\0" * 64,
    "image": json.dumps({"image": base64_of(images.data(GREY))}).encode(),
    "images": json.dumps({"images": [base64_of(images.data(GREY)), "?", 3, None]}).encode(),
    "s3": b'{"s3_uri": "s3://bucket/image.png"}',
    "url": b'{"s3_uri": "file:///etc/passwd"}',
    "two ways": b'{"image": "", "images": []}',
    "deep": b'{"images": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "number": b"9" * 6000,
    "constant": b'{"image": NaN}',
    "utf-16": '{"image": ""}'.encode("utf-16"),
    "form": form(("image", "a.png", images.data(GREY)), ("explain", None, b"1"))[0],
    "form of many": form(*[("f", "f", b"x")] * 30)[0],
    "form without end": form(("image", "a.png", images.data(GREY)))[0][:-6],
    "form of nothing": b"--x1y2--\r\n",
    "lists": b"[[[0.5, 1], [0, 0.25]]]",
    "huge numbers": b"[[1e999, 123456789012345678901234567890]]",
    "deep lists": b"[" * 70 + b"1" + b"]" * 70,
    "lines": b"0,128,255\n1,2,3\n",
    "lines of nothing": b"\n\n#,\n",
    "tensors": npy(np.zeros((2, 1, 32, 32), np.float32)),
}
#: What each body says it is, if it is honest.
HONEST = {
    **dict.fromkeys(
        (
            "npy",
            "batch",
            "floats",
            "nan",
            "fortran",
            "big end",
            "texts",
            "zip",
            "object",
            "pickle",
            "record",
            "vast",
            "negative",
            "call",
        ),
        "npy",
    ),
    "deep header": "npy",
    **dict.fromkeys(("image", "images", "s3", "url", "two ways", "deep", "number", "constant", "utf-16"), "json"),
    **dict.fromkeys(("lists", "huge numbers", "deep lists"), "json"),
    **dict.fromkeys(("lines", "lines of nothing"), "csv"),
    "tensors": "tensors",
    **dict.fromkeys(("form", "form of many", "form without end", "form of nothing"), "form"),
}
CALLED = {
    "npy": "application/x-npy",
    "json": "application/json",
    "form": "multipart/form-data; boundary=x1y2",
    "image": "application/octet-stream",
    "csv": "text/csv; normalized=false",
    "tensors": "application/x-npy; normalized=true",
}
KINDS = [
    *READERS,
    "multipart/form-data; boundary=x1y2",
    "multipart/form-data; boundary*=utf-8''x",
    "text/html",
    "application/json; normalized=true",
    "image/*",
    "",
]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, str]:
    """Something good or known to be bad, as it is or damaged, or anything.

    And a content type, honest in half of all cases.
    """
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200)), draw(content_types)
    name = draw(st.sampled_from(sorted(GOOD)))
    body = bytearray(GOOD[name])
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        match draw(st.sampled_from(("cut", "set", "insert", "drop", "double"))):
            case "cut":
                del body[at:]
            case "set":
                body[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case "insert":
                body[at:at] = draw(st.binary(max_size=40))
            case "drop":
                del body[at : at + draw(st.integers(1, 60))]
            case _:
                body += body[:4096]
    return bytes(body), draw(st.just(CALLED[HONEST.get(name, "image")]) | content_types)


header_text = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)
content_types = st.one_of(
    st.sampled_from(KINDS), header_text, st.tuples(st.sampled_from(KINDS), header_text).map(";".join)
)
accepts = st.one_of(
    st.just(""),
    st.sampled_from(list(WRITERS)),
    st.sampled_from([*WRITERS, "*/*", "image/*;q=0.1, text/*", ""]),
    header_text,
)
asked = (
    st.sampled_from(
        ["", "explain=true", "explain=true&label=Mass", "label=%00", "explain=maybe", "explain=1&explain=0"]
    )
    | header_text
)


def tried(client, body, content_type, accept, attributes, query) -> int:
    headers = {"Content-Type": content_type, "Accept": accept, "X-Amzn-SageMaker-Custom-Attributes": attributes}
    answer = client.ask(body=body, headers=headers, query=query)
    assert answer.status == 200 or 400 <= answer.status < 500, answer.body
    if answer.status != 200:
        line = answer.json["error"]
        assert line and "\n" not in line and len(line) < 600
        assert not any(
            word in line for word in ("Traceback", "site-packages", "source_dir", "object at 0x", os.getcwd())
        )
    return answer.status


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("kind", [*READERS, "multipart/form-data; boundary=x1y2"])
def test_every_body_as_every_content_type(client, name, kind):
    tried(client, GOOD[name], kind, "", "", "")


def test_always_an_answer_of_2xx_or_4xx(client, classifier):
    memory = psutil.Process()
    seen: dict[int, int] = {}

    @settings(
        max_examples=CASES or 2000,
        deadline=None,
        database=None,
        derandomize=not CASES,
        suppress_health_check=list(HealthCheck),
    )
    @given(bodies(), accepts, asked, asked)
    def case(sent, accept, attributes, query):
        status = tried(client, *sent, accept, attributes, query)
        seen[status] = seen.get(status, 0) + 1

    tried(client, GOOD["just too large"], "image/png", "", "", "")
    before = memory.memory_info().rss
    case()
    assert memory.memory_info().rss - before < 300 * 2**20
    assert {200, 400, 406, 415} <= set(seen)
    answer = client.ask(body=GOOD["png"], headers={"Content-Type": "image/png"})
    assert answer.json == pytest.approx(classifier.predict([GOOD["png"]])[0].tolist(), abs=2e-6)
    assert client.ask("GET", "/ping").status == 200
