"""SageMaker's four functions, in the order a container calls them."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import images
import inference
from hosting import base64_of
from thorax.data.decoders import kinds
from thorax.data.images import Preprocessing
from thorax.errors import ThoraxError
from thorax.serving import pipeline, sagemaker_functions
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax.serving.heat_map import HeatMap
from thorax.serving.request import RawRequest, RequestError
from thorax.serving.settings import ServerSettings

PREPARED = Preprocessing(8, 8)


@pytest.mark.parametrize(("properties", "device"), [({"gpu_id": 2}, "cuda:2"), ({"gpu_id": None}, None), ({}, None)])
def test_a_worker_of_torchserve_takes_the_gpu_that_it_was_given(monkeypatch, classifier, properties, device):
    taken = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Classifier, "load", lambda folder, **settings: taken.update(settings) or classifier)
    inference.model_fn("bundle", SimpleNamespace(system_properties=properties))
    assert taken["device"] == (None if device is None else torch.device(device))


class FixedBundle(Bundle):
    """A bundle of a network whose logits are an image's mean grey for the first label and constants for the others."""

    def build_network(self) -> torch.nn.Module:
        return Fixed()


class Fixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grey = x.mean((1, 2, 3))
        return torch.stack([grey, torch.zeros_like(grey), torch.full_like(grey, -50)], 1)


@pytest.fixture
def classifier(tmp_path) -> Classifier:
    prepared = Preprocessing(8, 8, normalization="fixed")
    bundle = FixedBundle(folder=tmp_path, network="cnn5", space=images.FINDINGS, preprocessing=prepared, thresholds={})
    return Classifier(bundle, torch.device("cpu"))


def asked(classifier, body, content_type="image/png", accept=None):
    return inference.output_fn(inference.predict_fn(inference.input_fn(body, content_type), classifier), accept)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("content_type", ["image/png", "IMAGE/JPEG; charset=binary", "application/x-image", "", None])
def test_from_request_to_answer(classifier, kind, content_type):
    white, black = (images.data(np.full((20, 20), level, np.uint8), kind) for level in (255, 0))
    answers = [asked(classifier, body, content_type) for body in (white, black)]
    assert answers == [("[0.880797, 0.5, 0.0]", "application/json"), ("[0.119203, 0.5, 0.0]", "application/json")]


@pytest.mark.parametrize("wrap", [bytes, bytearray, io.BytesIO], ids=["bytes", "bytearray", "stream"])
def test_a_body_comes_in_any_shape(classifier, wrap):
    assert asked(classifier, wrap(images.data(np.full((20, 20), 255, np.uint8))))[0] == "[0.880797, 0.5, 0.0]"


def test_json_comes_as_text(classifier):
    """The toolkit decodes JSON and CSV."""
    text = json.dumps({"image": base64_of(images.data(np.full((20, 20), 255, np.uint8)))})
    assert asked(classifier, text, "application/json")[0] == "[0.880797, 0.5, 0.0]"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("application/x-npy", bytes), ("image/png", bytes), ("text/csv", str), ("application/json", str)],
)
def test_texts_are_given_as_str_and_the_rest_as_bytes(classifier, accept, kind, monkeypatch):
    heat_map = HeatMap("Mass", np.zeros((8, 8), np.float32), np.zeros((8, 8), np.uint8))
    monkeypatch.setattr(classifier, "heat_map", lambda image, label: heat_map)  # this network has no map of features
    body, content_type = asked(classifier, images.data(images.grey()), accept=accept)
    assert (type(body), content_type) == (kind, accept)


@pytest.mark.parametrize(
    ("body", "content_type", "accept", "status", "expected"),
    [
        (
            b"image",
            "text/html",
            None,
            415,
            "content type text/html is not read here; send one of image/jpeg, image/png",
        ),
        (b"", "image/png", None, 400, "the body is empty"),
        (b"hello", "image/png", None, 400, "the image cannot be read"),
        (
            images.data(images.grey()),
            "image/png",
            "audio/mpeg",
            406,
            "Accept audio/mpeg cannot be given; ask for one of application/json",
        ),
    ],
)
def test_what_is_refused_has_a_status(classifier, monkeypatch, body, content_type, accept, status, expected):
    monkeypatch.setitem(
        __import__("sys").modules, "sagemaker_inference.errors", None
    )  # as on a laptop without the toolkit
    with pytest.raises(RequestError, match=expected) as caught:
        asked(classifier, body, content_type, accept)
    assert caught.value.status == status


def test_the_toolkit_gets_its_own_error(classifier):
    errors = pytest.importorskip("sagemaker_inference.errors")
    with pytest.raises(errors.GenericInferenceToolkitError) as caught:
        asked(classifier, b"hello")
    assert (caught.value.status_code, caught.value.phrase) == (400, "Bad Request")
    assert json.loads(caught.value.message) == {
        "error": f"the image cannot be read: its content is neither {kinds('nor')}"
    }


def test_a_folder_without_a_bundle(tmp_path):
    with pytest.raises(ThoraxError, match=r"is not a bundle: it has no bundle\.json"):
        inference.model_fn(str(tmp_path))


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"no image", "image/png", "cannot be read"),
        (b"x", "text/html", "content type text/html is not read here"),
        (b"", "image/png", "the body is empty"),
    ],
)
def test_in_a_batch_job_an_image_that_cannot_be_read_is_no_failure(
    classifier, monkeypatch, body, content_type, expected
):
    """SageMaker ends a batch transform at the first status other than 200."""
    monkeypatch.setattr(sagemaker_functions, "settings", lambda: ServerSettings(batch_job=True))
    answer, kind = asked(classifier, body, content_type, "application/json")
    assert kind == "application/json"
    assert expected in json.loads(answer)["error"]
    reply = pipeline.answer(classifier, RawRequest(body, content_type), ServerSettings(batch_job=True))
    assert (reply.status, expected in json.loads(reply.body)["error"]) == (200, True)
    assert pipeline.answer(classifier, RawRequest(body, content_type)).status in (400, 415)
