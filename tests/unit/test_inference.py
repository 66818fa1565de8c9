"""SageMaker's four functions, in the order a container calls them."""

from __future__ import annotations

import json

import films
import numpy as np
import pytest
import torch

import inference
from thorax.data.images import Preprocessing, UnreadableFilm
from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier

PREPARED = Preprocessing(8, 8)


class Told(Bundle):
    """A bundle of a network that answers with a film's mean grey for the first label and its own logits for the others."""

    def build_network(self) -> torch.nn.Module:
        return Fixed()


class Fixed(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grey = x.mean((1, 2, 3))
        return torch.stack([grey, torch.zeros_like(grey), torch.full_like(grey, -50)], 1)


@pytest.fixture
def classifier(tmp_path) -> Classifier:
    prepared = Preprocessing(8, 8, normalization="fixed")
    return Classifier(Told(tmp_path, "cnn5", films.FINDINGS, prepared, {}, {}), torch.device("cpu"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "application/x-image", None])
def test_from_request_to_answer(classifier, kind, content_type):
    white, black = (films.data(np.full((20, 20), level, np.uint8), kind) for level in (255, 0))
    answers = [inference.output_fn(inference.predict_fn(inference.input_fn(body, content_type), classifier)) for body in (white, black)]
    assert answers == [("[0.880797, 0.5, 0.0]", "application/json"), ("[0.119203, 0.5, 0.0]", "application/json")]


@pytest.mark.parametrize("content_type", ["image/jpeg", "IMAGE/PNG", "image/png; charset=binary", "application/x-image", "application/octet-stream", None, ""])
def test_films_are_taken_as_they_come(content_type):
    assert inference.input_fn(b"film", content_type) == b"film"


def test_a_bytearray_becomes_bytes():
    """The TorchServe image hands over a bytearray."""
    got = inference.input_fn(bytearray(b"film"), "image/png")
    assert type(got) is bytes
    assert got == b"film"


@pytest.mark.parametrize("content_type", ["text/csv", "application/json", "image/tiff", "nonsense"])
def test_other_content_types_are_refused(content_type):
    with pytest.raises(ThoraxError, match=f"content type {content_type} is not one of image/jpeg, image/png"):
        inference.input_fn(b"film", content_type)


@pytest.mark.parametrize(("body", "told"), [(b"", r"a film of 0 bytes cannot be read: the file is empty"), (b"hello", "a film of 5 bytes cannot be read")])
def test_a_body_that_is_no_film(classifier, body, told):
    with pytest.raises(UnreadableFilm, match=told):
        inference.predict_fn(inference.input_fn(body, "image/png"), classifier)


@pytest.mark.parametrize(
    "accept", ["application/json", "*/*", "application/*", None, "", "application/json; q=0.9", "text/html, application/json;q=0.9", "TEXT/*,*/*"]
)
def test_json_is_given_to_who_takes_it(accept):
    assert inference.output_fn(np.array([[0.1234567, 1.0]], np.float32), accept) == ("[0.123457, 1.0]", "application/json")


@pytest.mark.parametrize("accept", ["text/csv", "image/png", "text/html, text/plain"])
def test_what_cannot_be_given_is_said(accept):
    with pytest.raises(ThoraxError, match=f"Accept {accept} cannot be given; ask for application/json"):
        inference.output_fn(np.zeros((1, 2), np.float32), accept)


def test_every_probability_is_a_plain_number():
    body, _ = inference.output_fn(np.array([[1e-30, 0.5, 1 - 1e-9]], np.float32))
    assert json.loads(body) == [0.0, 0.5, 1.0]
    assert "e" not in body


def test_a_folder_without_a_bundle(tmp_path):
    with pytest.raises(ThoraxError, match=r"is not a bundle: it has no bundle\.json"):
        inference.model_fn(str(tmp_path))
