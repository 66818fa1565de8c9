"""Images as numbers: tensors that are normalised already, JSON and CSV arrays; and notes on colour."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import images
from hosting import npy
from photos import photo
from thorax.data.out_of_distribution import OutOfDistributionDetector
from thorax.data.preprocessing import Preprocessing
from thorax.serving import pipeline, sagemaker_functions
from thorax.serving.classifier import Classifier
from thorax.serving.request import RawRequest, ResponseOptions
from written_bundles import telling_network, write

ARRAY, VERBOSE = "application/x-npy", "application/json;verbose"
FIXED = {"normalization": "fixed", "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
NORMALIZED = f"{ARRAY}; normalized=true"


def bundle(folder, prepared, **more):
    write(folder, telling_network(3, prepared.channels), images.FINDINGS, prepared, **more)
    return Classifier.load(folder, engine="torch", precision="float32")


@pytest.fixture(scope="module")
def rgb(tmp_path_factory):
    return bundle(tmp_path_factory.mktemp("rgb"), Preprocessing(32, 40, 3, color="rgb", **FIXED))


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    return bundle(tmp_path_factory.mktemp("grey"), Preprocessing(32, 40))


def asked(classifier, body, content_type, accept="application/json", **options):
    return pipeline.answer(classifier, RawRequest(body, content_type, accept, ResponseOptions(**options)))


def answer(classifier, body, content_type, **options):
    reply = asked(classifier, body, content_type, **options)
    assert reply.status == 200, reply.body
    return np.array(json.loads(reply.body))


def refused(classifier, body, content_type, **options):
    reply = asked(classifier, body, content_type, **options)
    message = json.loads(reply.body)["error"]
    assert reply.status == 400 and "\n" not in message
    return message


PIXELS = np.stack([photo(32, 40, seed=k) for k in range(2)])
CHANNELS_FIRST = np.ascontiguousarray(PIXELS.transpose(0, 3, 1, 2))


def tensors(classifier, pixels):
    """What a client computes with torchvision."""
    from torchvision.transforms.v2.functional import normalize

    prepared = classifier.bundle.preprocessing
    x = torch.from_numpy(pixels).float() / 255
    return normalize(x.movedim(3, 1), prepared.mean, prepared.std).numpy()


def test_normalised_tensors_are_answered_as_the_images_are(rgb):
    want, x = rgb.predict(list(PIXELS)), tensors(rgb, PIXELS)
    np.testing.assert_allclose(answer(rgb, npy(x), NORMALIZED), want, atol=1e-4)
    np.testing.assert_allclose(answer(rgb, npy(x[0]), NORMALIZED), want[0], atol=1e-4)
    np.testing.assert_allclose(answer(rgb, npy(x.astype(np.float64)), ARRAY, normalized=True), want, atol=1e-4)
    options = ResponseOptions.of(query="normalized=true")
    assert (
        options == ResponseOptions.of(attributes="explain=false;normalized=true").overridden_by(ResponseOptions())
        or options.normalized
    )
    lists = json.dumps(x.tolist()).encode()
    np.testing.assert_allclose(answer(rgb, lists, "application/json; normalized=true"), want, atol=1e-4)
    lines = "\n".join(",".join(map(repr, map(float, image.ravel()))) for image in x).encode()
    np.testing.assert_allclose(answer(rgb, lines, "text/csv; normalized=true"), want, atol=1e-4)
    np.testing.assert_allclose(answer(rgb, lines.split(b"\n")[0], "text/csv;normalized=true"), want[0], atol=1e-4)


def test_one_channel_is_taken_by_both_networks(rgb, grey):
    one = np.random.default_rng(0).normal(size=(2, 1, 32, 40)).astype(np.float32)
    found = answer(grey, npy(one), NORMALIZED)
    with torch.no_grad():
        want = torch.sigmoid(grey.bundle.build_network()(torch.from_numpy(one))).numpy()
    np.testing.assert_allclose(found, want, atol=1e-4)
    np.testing.assert_allclose(
        answer(rgb, npy(one), NORMALIZED), answer(rgb, npy(np.repeat(one, 3, 1)), NORMALIZED), atol=1e-4
    )


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 40, 32), "f4"), "image 0 is normalised of shape (3, 40, 32); the network takes (3, 32, 40)"),
        (np.zeros((2, 32, 40, 3), "f4"), "send (N, 3, H, W) or (N, 1, H, W)"),
        (np.zeros((2, 2, 32, 40), "f4"), "shape (2, 2, 32, 40) is no image"),
        (np.zeros((1, 3, 32, 40), "u1"), "normalized=true with an array of uint8; send floats"),
        (np.full((1, 3, 32, 40), np.nan, "f4"), "holds numbers that are not finite"),
    ],
)
def test_what_is_not_normalised_so(rgb, array, message):
    assert message in refused(rgb, npy(array), NORMALIZED)


def test_three_channels_do_not_fit_a_network_of_one(grey):
    assert "the network takes (1, 32, 40)" in refused(grey, npy(np.zeros((1, 3, 32, 40), "f4")), NORMALIZED)


def test_floats_that_do_not_say_so_are_pixels(rgb):
    x = tensors(rgb, PIXELS)
    assert "floats that are normalised already are taken with normalized=true" in refused(rgb, npy(x), ARRAY)
    assert "normalized=maybe must be true or false" in refused(rgb, npy(x), f"{ARRAY}; normalized=maybe")
    want = rgb.predict(list(PIXELS))
    for array in (CHANNELS_FIRST, (CHANNELS_FIRST / 255).astype("f4"), PIXELS):
        np.testing.assert_allclose(answer(rgb, npy(array), ARRAY), want, atol=1e-4)


def test_json_and_csv_of_pixels(rgb, grey):
    want = rgb.predict(list(PIXELS))
    for array in (PIXELS, CHANNELS_FIRST, PIXELS / 255):
        np.testing.assert_allclose(
            answer(rgb, json.dumps(array.tolist()).encode(), "application/json"), want, atol=1e-4
        )
    one = images.grey(32, 40)
    rows = "\n".join(",".join(map(str, row)) for row in one).encode()
    line = ",".join(map(str, one.ravel())).encode()
    for body in (rows, line, line + b"\n"):
        np.testing.assert_allclose(answer(grey, body, "text/csv"), grey.predict([one])[0], atol=1e-4)
    np.testing.assert_allclose(
        answer(rgb, ",".join(map(str, CHANNELS_FIRST[0].ravel())).encode(), "text/csv"), want[0], atol=1e-4
    )
    large = images.grey(48, 60)  # the rows of an image of another size: it is scaled like any image
    rows = "\n".join(",".join(map(str, row)) for row in large).encode()
    np.testing.assert_allclose(answer(grey, rows, "text/csv"), grey.predict([large])[0], atol=1e-4)


@pytest.mark.parametrize(
    ("body", "content_type", "message"),
    [
        (b"[[1, 2], [3]]", "application/json", "the JSON's lists have different lengths"),
        (b'[["a", "b"]]', "application/json", "the JSON holds no array of numbers"),
        (b"[[-1, 300]]", "application/json", "holds whole numbers from -1 to 300; levels are 0 to 255"),
        (b"[1, 2, 3]", "application/json", "an array of shape (3,) is no image"),
        (b"1,2\n3", "text/csv", "the CSV must be lines of as many numbers each"),
        (b"a,b", "text/csv", "the CSV must be lines of as many numbers each"),
        (b"1,2,3", "text/csv", "a line of 3 numbers is no image of 32x40; send 1280 or 3840"),
        (b"\xff\xfe", "text/csv", "the CSV must be lines"),
    ],
)
def test_arrays_that_are_none(grey, body, content_type, message):
    assert message in refused(grey, body, content_type)


def test_the_functions_of_the_torchserve_image_take_them(rgb):
    x = tensors(rgb, PIXELS)
    data = sagemaker_functions.input_fn(npy(x), NORMALIZED)
    body, kind = sagemaker_functions.output_fn(sagemaker_functions.predict_fn(data, rgb), "application/json")
    assert kind == "application/json"
    np.testing.assert_allclose(json.loads(body), rgb.predict(list(PIXELS)), atol=1e-4)


def test_requests_of_both_kinds_share_a_server(rgb):
    from thorax.serving.batcher import Batcher

    batcher = Batcher(rgb.score, max_batch=8, max_wait=0.05, workers=1)
    try:
        mixed = [*PIXELS, *tensors(rgb, PIXELS)]
        found = batcher.score(mixed, 30)
        np.testing.assert_allclose(found[:2], found[2:], atol=1e-4)
        assert batcher.failures == 0
    finally:
        batcher.close()


def test_the_heat_map_of_a_normalised_tensor_lies_over_its_picture(rgb):
    reply = asked(rgb, npy(tensors(rgb, PIXELS)[0]), NORMALIZED, "image/png", explain=True, label="Mass")
    assert reply.status == 200 and reply.content_type == "image/png"
    prepared = rgb.prepare(pipeline.read(RawRequest(npy(tensors(rgb, PIXELS)[0]), NORMALIZED), _settings()).images[0])
    np.testing.assert_array_equal(rgb.heat_map(prepared, "Mass").image, PIXELS[0])


def _settings():
    from thorax.serving.settings import ServerSettings

    return ServerSettings()


def warnings(classifier, image):
    reply = asked(classifier, images.data(Image.fromarray(image)), "image/png", VERBOSE)
    assert reply.status == 200
    return json.loads(reply.body)["warnings"]


GREY_NOTE = "a grey image; the training images were in colour"
COLOR_NOTE = "an image in colour, seen in grey; the training images were grey"


def test_another_kind_of_colour_is_noted_and_answered(rgb, grey):
    assert warnings(rgb, photo(32, 40)) == []
    assert warnings(rgb, images.grey(32, 40)) == [GREY_NOTE]
    assert warnings(rgb, np.stack([images.grey(32, 40)] * 3, 2)) == [GREY_NOTE]
    assert warnings(grey, photo(32, 40)) == [COLOR_NOTE]
    assert warnings(grey, images.grey(32, 40)) == warnings(grey, np.stack([images.grey(32, 40)] * 3, 2)) == []


@pytest.mark.parametrize(("color", "colored", "noted"), [("gray", 0.9, ""), ("rgb", 0.6, ""), ("rgb", 1.0, GREY_NOTE)])
def test_what_was_usual_in_training_is_not_noted(tmp_path, color, colored, noted):
    prepared = Preprocessing(32, 40, 3, color=color)
    seen = [photo(32, 40, seed=k) if color == "rgb" else images.grey(32, 40, seed=k) for k in range(70)]
    detector = OutOfDistributionDetector.of(np.stack(seen), colored)
    classifier = bundle(tmp_path, prepared, typical_images=json.loads(json.dumps(detector.to_dict())))
    image = photo(32, 40) if color == "gray" else images.grey(32, 40)
    assert [w for w in warnings(classifier, image) if w in (GREY_NOTE, COLOR_NOTE)] == ([noted] if noted else [])


def test_the_detector_sees_each_channel():
    rng = np.random.default_rng(0)
    seen = np.stack([np.roll(photo(32, 40), rng.integers(0, 3, 2), (0, 1)) for _ in range(100)])
    detector = OutOfDistributionDetector.from_dict(OutOfDistributionDetector.of(seen, 1.0).to_dict())
    assert detector.colored == 1 and detector.warnings(seen[0]) == []
    assert detector.warnings(seen[0][..., ::-1])  # red and blue change places; a grey copy would look much alike
    assert [image.shape for image in detector.examples(32, 40)] == [(32, 40, 3)] * 2
