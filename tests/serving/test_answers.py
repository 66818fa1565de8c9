"""What clients get: of two exclusive classes both probabilities, names as text, JSON Lines in a batch job."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest

import images
from hosting import base64_of, tiny_bundle
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.serving import pipeline, sagemaker_functions
from thorax.serving.classifier import Classifier
from thorax.serving.pipeline import answer
from thorax.serving.request import RawRequest, ResponseOptions
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings
from thorax.serving.writers import CSV, JSON, LINES, NPY, TEXT, VERBOSE, WRITERS

IMAGE, OTHER = images.data(images.grey()), images.data(images.grey(seed=2))
SEVERAL = json.dumps({"images": [base64_of(IMAGE), base64_of(b"no image"), base64_of(OTHER)]}).encode()
UNREADABLE = "error: image 1 cannot be read: its content is neither "
SPACES = {
    "binary": images.BINARY,
    "upside down": LabelSpace(("PNEUMONIA", "NORMAL"), "binary"),  # a user's own order: the second is positive
    "multiclass": LabelSpace(("BACTERIA", "NORMAL", "VIRUS"), "multiclass"),
    "multilabel": LabelSpace(("Edema", "Mass"), "multilabel"),
    "one label": LabelSpace(("Edema",), "multilabel"),
}


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    root = tmp_path_factory.mktemp("answers")
    return {
        name: Classifier.load(tiny_bundle(root / name, space), precision="float32") for name, space in SPACES.items()
    }


def one(classifier, accept, **settings):
    reply = answer(classifier, RawRequest(IMAGE, "image/png", accept), ServerSettings(**settings))
    assert reply.status == 200
    return reply.body


def several(classifier, accept, **settings):
    reply = answer(classifier, RawRequest(SEVERAL, "application/json", accept), ServerSettings(**settings))
    assert reply.status == 200
    return reply.body


def numbers_of(classifier, accept, ask, **settings):
    """The rows of a bare answer, whatever its form; NaN for an image that cannot be read."""
    body = ask(classifier, accept, **settings)
    if accept == NPY:
        return np.atleast_2d(np.load(io.BytesIO(body)))
    if accept == CSV:
        rows = list(csv.reader(io.StringIO(body.decode())))
        return np.array([[float(p or "nan") for p in row] for row in rows])
    if accept == LINES:
        found = [json.loads(line).get("prediction") for line in body.splitlines()]
    else:
        stored = json.loads(body)
        found = stored if ask is several else [stored]
    width = max(len(row) for row in found if row)
    return np.array([row or [np.nan] * width for row in found])


@pytest.mark.parametrize("accept", [JSON, LINES, CSV, NPY])
@pytest.mark.parametrize("ask", [one, several])
@pytest.mark.parametrize("name", SPACES)
def test_the_numbers_are_the_classes_in_order(classifiers, name, ask, accept):
    """Of two exclusive classes as their softmax is: (1 - p, p). Of others a number a label, as ever."""
    classifier, space = classifiers[name], SPACES[name]
    p = classifier.predict([IMAGE, OTHER]).astype(float)
    want = np.hstack([1 - p, p]) if space.task == "binary" else p
    rows = numbers_of(classifier, accept, ask)
    assert rows.shape[1] == len(space.classes)
    np.testing.assert_allclose(rows if ask is one else rows[[0, 2]], want[:1] if ask is one else want, atol=1.1e-6)
    assert ask is one or np.isnan(rows[1]).all()
    if space.task != "multilabel":
        np.testing.assert_allclose(rows[0].sum(), 1, atol=2e-6)
        assert rows[0].min() >= 0 and rows[0].max() <= 1


@pytest.mark.parametrize("accept", [JSON, LINES, CSV, NPY])
@pytest.mark.parametrize("name", SPACES)
def test_by_a_setting_one_number_as_before(classifiers, name, accept):
    classifier = classifiers[name]
    for ask, count in ((one, 1), (several, 2)):
        p = classifier.predict([IMAGE, OTHER][:count])
        rows = numbers_of(classifier, accept, ask, binary_answer="positive")
        np.testing.assert_allclose(rows[[0, 2]] if ask is several else rows, p, atol=1.1e-6)


def test_json_of_two_classes_to_the_letter(classifiers, monkeypatch):
    monkeypatch.setattr(classifiers["binary"], "outputs", lambda images: np.array([[0.9300004]] * len(images)))
    assert one(classifiers["binary"], None) == b"[0.07, 0.93]"
    assert one(classifiers["binary"], LINES) == b'{"prediction": [0.07, 0.93]}\n'
    assert one(classifiers["binary"], CSV) == b"0.070000,0.930000\n"
    assert one(classifiers["binary"], None, binary_answer="positive") == b"[0.93]"


def test_an_unknown_value_of_the_setting():
    with pytest.raises(ThoraxError, match=r"^THORAX_BINARY_ANSWER=one must be both or positive$"):
        ServerSettings.from_environment({"THORAX_BINARY_ANSWER": "one"})
    assert ServerSettings.from_environment({"THORAX_BINARY_ANSWER": "positive"}).binary_answer == "positive"


def test_metadata_names_the_numbers(classifiers):
    for name, space in SPACES.items():
        for value, columns in (("both", space.classes), ("positive", space.outputs)):
            service = Service(classifiers[name], ServerSettings(workers=1, threads=1, binary_answer=value))
            assert service.metadata()["columns"] == list(columns)
            service.close()


@pytest.mark.parametrize(
    ("name", "p", "text"),
    [
        ("binary", [0.93], "PNEUMONIA"),
        ("binary", [0.07], "NORMAL"),
        ("upside down", [0.93], "NORMAL"),
        ("multiclass", [0.2, 0.1, 0.7], "VIRUS"),
        ("multilabel", [0.9, 0.1], "Edema"),
        ("multilabel", [0.9, 0.8], "Edema\nMass"),
        ("multilabel", [0.1, 0.2], "\n"),
    ],
)
def test_text_is_the_name_alone(classifiers, monkeypatch, name, p, text):
    """A page compares it: data === "PNEUMONIA"."""
    monkeypatch.setattr(classifiers[name], "outputs", lambda images: np.array([p] * len(images), np.float32))
    assert one(classifiers[name], "text/plain").decode() == text
    verbose = json.loads(one(classifiers[name], VERBOSE))
    assert verbose["label"] == text.strip("\n").replace("\n", "|")
    assert verbose["predicted"] == (
        verbose["label"] if SPACES[name].task != "multilabel" else [n for n in verbose["label"].split("|") if n]
    )
    lines = several(classifiers[name], "text/plain").decode().split("\n")
    assert (lines[0], lines[2:]) == (verbose["label"], [verbose["label"], ""])
    assert lines[1].startswith(UNREADABLE)


def test_text_has_no_room_for_heat_maps(classifiers):
    raw = RawRequest(IMAGE, "image/png", TEXT, ResponseOptions(explain=True))
    reply = answer(classifiers["binary"], raw)
    assert (reply.status, json.loads(reply.body)["error"][:37]) == (406, "text/plain has no room for heat maps;")


def test_the_label_in_text_stays_one_line(tmp_path, monkeypatch):
    odd = LabelSpace(("nor\nmal", "Ödem\t\u2028b"), "binary")
    classifier = Classifier.load(tiny_bundle(tmp_path / "model", odd))
    assert one(classifier, "text/plain").decode() in ("nor mal", "Ödem b")


# -- Batch transforms


@pytest.mark.parametrize("accept", [None, "", "*/*", "application/*"])
def test_in_a_batch_job_who_asks_for_nothing_gets_json_lines(classifiers, accept):
    """As of the built-in algorithm, whose FILE.out are read by json.load(file)["prediction"]."""
    body = one(classifiers["binary"], accept, batch_job=True)
    assert body == one(classifiers["binary"], LINES)
    assert json.loads(one(classifiers["binary"], accept)) == json.loads(body)["prediction"]
    assert one(classifiers["binary"], JSON, batch_job=True) == one(classifiers["binary"], JSON)


def test_the_four_functions_answer_a_batch_job_alike(classifiers, monkeypatch):
    monkeypatch.setattr(sagemaker_functions, "settings", lambda: ServerSettings(batch_job=True))
    request = sagemaker_functions.input_fn(IMAGE, "application/x-image")
    predicted = sagemaker_functions.predict_fn(request, classifiers["binary"])
    body, kind = sagemaker_functions.output_fn(predicted, "*/*")
    assert (body.encode(), kind) == (one(classifiers["binary"], LINES), LINES)


def test_the_four_functions_heed_the_setting(classifiers, monkeypatch):
    monkeypatch.setattr(sagemaker_functions, "settings", lambda: ServerSettings(binary_answer="positive"))
    request = sagemaker_functions.input_fn(IMAGE, "application/x-image")
    predicted = sagemaker_functions.predict_fn(request, classifiers["binary"])
    for accept in WRITERS:
        body, _ = sagemaker_functions.output_fn(predicted, accept)
        expected = one(classifiers["binary"], accept, binary_answer="positive")
        assert (body if isinstance(body, bytes) else body.encode()) == expected


# -- What is wrong with a request, in one line


@pytest.mark.parametrize("where", ["label", "explain"])
@pytest.mark.parametrize("text", [chr(0xD800), f"a{chr(0xDFFF)}b", chr(0xDC80), chr(0xD800) * 300], ids=ascii)
def test_half_a_surrogate_pair_is_a_mistake_of_the_callers(client, where, text):
    body = json.dumps({"image": base64_of(IMAGE), "explain": True, where: text})
    assert r"\ud" in body  # as JSON allows it
    for accept in ("application/json", "application/json;verbose", "image/png", "application/jsonlines"):
        found = client.ask(body=body.encode(), headers={"Content-Type": "application/json", "Accept": accept})
        assert found.status == 400, found.body
        assert list(found.json) == ["error"]


def test_nor_is_it_where_json_comes_as_text(classifiers):
    """As TorchServe's toolkit hands it over."""

    def ask(text: str) -> None:
        request = sagemaker_functions.input_fn(text, "application/json")
        predicted = sagemaker_functions.predict_fn(request, classifiers["binary"])
        sagemaker_functions.output_fn(predicted, "application/json")

    for where, expected in (("label", "is not one of PNEUMONIA"), ("explain", "must be true or false")):
        for text in (chr(0xD800), f"a{chr(0xDC80)}"):
            body = json.dumps({"image": base64_of(IMAGE), where: text}, ensure_ascii=False)
            with pytest.raises(Exception, match=expected):  # of our own type, or the toolkit's where it is installed
                ask(body)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/opt/ml/model/model.pt is damaged", "model.pt is damaged"),
        ("reading '/opt/ml/model/code/a b.py' failed", "reading 'a b.py' failed"),
        ("error:/home/me/x.bin, ../y/z.bin and ~/k/l", "error:x.bin, z.bin and l"),
        (r"C:\Users\me\model.pt is damaged", "model.pt is damaged"),
        ("send image/jpeg or s3://bucket/key/x.png, 1/2", "send image/jpeg or s3://bucket/key/x.png, 1/2"),
    ],
)
def test_no_folder_of_the_servers_goes_out(classifiers, monkeypatch, message, shown):
    def fail(image, label):
        raise ThoraxError(message)

    monkeypatch.setattr(classifiers["binary"], "heat_map", fail)
    raw = RawRequest(IMAGE, "image/png", None, ResponseOptions(explain=True))
    assert json.loads(pipeline.answer(classifiers["binary"], raw).body) == {"error": shown}
