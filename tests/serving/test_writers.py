"""Answers in every form, and which form an Accept header chooses."""

from __future__ import annotations

import base64
import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import images
from hosting import base64_of, npy, tiny_bundle
from thorax.data.decoders import kinds
from thorax.labels import LabelSpace
from thorax.serving.accept import choose_writer
from thorax.serving.classifier import Classifier
from thorax.serving.heat_map import HeatMap
from thorax.serving.pipeline import answer
from thorax.serving.request import RawRequest, RequestError, ResponseOptions
from thorax.serving.writers import CSV, JSON, LINES, NPY, PNG, TEXT, VERBOSE, WRITERS

IMAGE, OTHER = images.data(images.grey()), images.data(images.grey(seed=2))
SEVERAL = json.dumps({"images": [base64_of(IMAGE), base64_of(b"no image"), base64_of(OTHER)]}).encode()


@pytest.fixture(scope="module")
def p(classifier):
    return classifier.predict([IMAGE, OTHER])


def one(classifier, accept, **options):
    return answer(classifier, RawRequest(IMAGE, "image/png", accept, ResponseOptions(**options)))


def several(classifier, accept):
    return answer(classifier, RawRequest(SEVERAL, "application/json", accept))


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("APPLICATION/JSON", JSON),
        ("application/json; charset=utf-8", JSON),
        ("text/*", CSV),
        ("text/plain", TEXT),
        ("text/plain; charset=utf-8", TEXT),
        ("text/csv;q=0, text/*", TEXT),
        ("application/json;verbose", VERBOSE),
        ("application/json; verbose=true", VERBOSE),
        ("application/json;verbose=false", JSON),
        ("image/*", PNG),
        ("image/png", PNG),
        ("text/csv;q=0.4, application/x-npy;q=0.6", NPY),
        ("text/html, application/jsonlines;q=0.1", LINES),
        ("*/*;q=0.1, text/csv", CSV),
        ("*/*, text/csv", CSV),
        ("application/json;q=0, */*", LINES),
        ("text/csv;q=0.5, application/json;verbose;q=0.5", VERBOSE),
        ("text/csv;q=oops, application/x-npy", NPY),
        ("text/html,application/xhtml+xml,image/webp,*/*;q=0.8", JSON),
        ("application/json;verbose, application/json", JSON),
    ],
)
def test_the_form_that_is_liked_best(accept, form):
    assert choose_writer(accept) == form


@pytest.mark.parametrize(
    "accept", ["audio/mpeg", "text/html", "application/json;q=0", "nonsense", "*/*;q=0", ";;", "image/webp"]
)
def test_no_form_that_is_accepted(accept):
    with pytest.raises(RequestError, match="cannot be given; ask for one of application/json") as caught:
        choose_writer(accept)
    assert caught.value.status == 406


@given(
    st.lists(
        st.tuples(st.sampled_from([*WRITERS, "*/*", "text/*", "audio/mpeg"]), st.integers(0, 10)),
        min_size=1,
        max_size=5,
    )
)
def test_nothing_is_chosen_that_was_ruled_out(ranges):
    header = ", ".join(f"{name};q={q / 10}" for name, q in ranges)
    try:
        form = choose_writer(header)
    except RequestError:
        assert all(q == 0 or name == "audio/mpeg" for name, q in ranges) or any(q == 0 for _, q in ranges)
    else:
        assert any(q > 0 for name, q in ranges if name in (form, "*/*", form.split("/")[0] + "/*"))


def test_json_is_a_bare_list(classifier, p):
    reply = one(classifier, JSON)
    assert (reply.status, reply.content_type) == (200, JSON)
    assert json.loads(reply.body) == [round(float(v), 6) for v in p[0]]
    rows = json.loads(several(classifier, JSON).body)
    assert rows == [[round(float(v), 6) for v in p[0]], None, [round(float(v), 6) for v in p[1]]]


def test_verbose_json_says_what_it_means(classifier, p):
    stored = json.loads(one(classifier, VERBOSE).body)
    assert stored == {
        "labels": ["Effusion", "Mass", "Nodule"],
        "thresholds": {"Effusion": 0.4, "Mass": 0.5, "Nodule": 0.6},
        "model_version": classifier.version,
        "probabilities": [round(float(v), 6) for v in p[0]],
        "decisions": classifier.decisions(p[0]).tolist(),
        "predicted": classifier.predicted(p[0]),
        "label": "|".join(classifier.predicted(p[0])),
        "warnings": [],
    }
    assert len(classifier.version) == 12
    of_several = json.loads(several(classifier, VERBOSE).body)
    assert of_several["predictions"][0] == {
        key: stored[key] for key in ("probabilities", "decisions", "predicted", "label", "warnings")
    }
    assert of_several["predictions"][1] == {"error": f"image 1 cannot be read: its content is neither {kinds('nor')}"}


def test_warnings_are_in_the_answer(classifier, monkeypatch):
    monkeypatch.setattr(classifier, "warnings", lambda image, source: ["looks inverted"])
    assert json.loads(one(classifier, VERBOSE).body)["warnings"] == ["looks inverted"]


def test_lines(classifier, p):
    lines = [json.loads(line) for line in several(classifier, LINES).body.splitlines()]
    assert lines == [
        {"prediction": [round(float(v), 6) for v in p[0]]},
        {"error": f"image 1 cannot be read: its content is neither {kinds('nor')}"},
        {"prediction": [round(float(v), 6) for v in p[1]]},
    ]


def test_csv(classifier, p):
    reply = several(classifier, CSV)
    assert reply.content_type == "text/csv"
    rows = list(csv.reader(io.StringIO(reply.body.decode())))
    assert rows == [[f"{v:.6f}" for v in p[0]], ["", "", ""], [f"{v:.6f}" for v in p[1]]]


def test_npy(classifier, p):
    rows = np.load(io.BytesIO(several(classifier, NPY).body))
    assert (rows.dtype, rows.shape) == (np.float32, (3, 3))
    np.testing.assert_allclose(rows[[0, 2]], p, atol=1e-6)
    assert np.isnan(rows[1]).all()
    assert np.load(io.BytesIO(one(classifier, NPY).body)).shape == (3,)


@pytest.mark.parametrize(("accept", "label"), [(JSON, ""), (VERBOSE, ""), (VERBOSE, "Mass"), (LINES, "Nodule")])
def test_heat_maps_of_every_label_or_of_one(classifier, accept, label):
    maps = json.loads(one(classifier, accept, explain=True, label=label).body)["heat_maps"]
    assert list(maps) == ([label] if label else list(classifier.labels))
    for name, text in maps.items():
        assert base64.b64decode(text) == classifier.explain(IMAGE, name).png()


def test_a_heat_map_as_a_picture(classifier, p):
    reply = one(classifier, PNG)
    assert (reply.status, reply.content_type, reply.body) == (200, "image/png", classifier.explain(IMAGE).png())
    assert Image.open(io.BytesIO(reply.body)).size == (32, 32)
    assert one(classifier, PNG, label="Nodule").body == classifier.explain(IMAGE, "Nodule").png()


@pytest.mark.parametrize(
    ("body", "kind", "accept", "options", "status", "expected"),
    [
        (SEVERAL, "application/json", PNG, {}, 400, "image/png is the heat map of one image, the request has 3"),
        (IMAGE, "image/png", CSV, {"explain": True}, 406, "text/csv has no room for heat maps"),
        (IMAGE, "image/png", NPY, {"explain": True}, 406, "application/x-npy has no room for heat maps"),
        (
            IMAGE,
            "image/png",
            JSON,
            {"explain": True, "label": "Gout"},
            400,
            "label Gout is not one of Effusion, Mass, Nodule",
        ),
        (b"x", "image/png", JSON, {}, 400, f"the image cannot be read: its content is neither {kinds('nor')}"),
        (
            json.dumps({"images": ["", ""]}).encode(),
            "application/json",
            JSON,
            {},
            400,
            "image 0 cannot be read: the file is empty (0 bytes)",
        ),
        (
            npy(np.full((4, 4), np.nan)),
            "application/x-npy",
            JSON,
            {},
            400,
            "an array of float64 must hold numbers in 0..1, found nan to nan; divide by the largest grey value",
        ),
    ],
)
def test_what_cannot_be_answered(classifier, body, kind, accept, options, status, expected):
    reply = answer(classifier, RawRequest(body, kind, accept, ResponseOptions(**options)))
    assert (reply.status, reply.content_type) == (status, JSON)
    assert json.loads(reply.body)["error"].startswith(expected)


def test_of_three_classes_the_most_probable_one_is_predicted_without_thresholds(tmp_path):
    classifier = Classifier.load(tiny_bundle(tmp_path / "model", LabelSpace(("A", "B", "C"), "multiclass")))
    answered = json.loads(one(classifier, VERBOSE).body)
    assert answered["thresholds"] == {}
    assert answered["predicted"] == "ABC"[int(np.argmax(answered["probabilities"]))]
    assert sum(answered["decisions"]) == 1


def test_labels_of_any_alphabet(tmp_path):
    classifier = Classifier.load(tiny_bundle(tmp_path / "model", LabelSpace(("Ödem", "肺炎"), "multilabel")))
    assert json.loads(one(classifier, VERBOSE).body)["labels"] == ["Ödem", "肺炎"]


def test_an_empty_heat_map_is_named(classifier, monkeypatch):
    answer = json.loads(one(classifier, "application/json", explain=True).body)
    assert "empty_heat_maps" not in answer or set(answer["empty_heat_maps"]) < set(answer["heat_maps"])
    nothing = lambda image, label: HeatMap(label, np.zeros(image.shape, np.float32), image)  # noqa: E731
    monkeypatch.setattr(classifier, "heat_map", nothing)
    answer = json.loads(one(classifier, "application/json", explain=True).body)
    assert answer["empty_heat_maps"] == list(answer["heat_maps"]) == list(classifier.labels)
    assert "no region speaks for it" in repr(nothing(np.zeros((2, 2), np.uint8), "Mass"))
