"""The classifier: equal probabilities in every precision, batch and thread; calibration; decisions; unusual images."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import images
from hosting import tiny_bundle
from thorax.data.images import DecodeError
from thorax.data.out_of_distribution import OutOfDistributionDetector
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier

THREE = LabelSpace(("bacterial", "normal", "viral"), "multiclass")
PNGS = [images.data(images.grey(seed=k)) for k in range(9)]


def uncalibrated(bundle):
    """Float32 probabilities of PNGS, by the network as it was saved."""
    loaded = Bundle.load(bundle)
    x = loaded.preprocessing.tensor(torch.from_numpy(np.stack([loaded.preprocessing.image(png) for png in PNGS])))
    with torch.no_grad():
        return loaded.build_network()(x)


@pytest.mark.parametrize(("precision", "within"), [("float32", 2e-6), ("bfloat16", 0.02), ("auto", 0.02)])
def test_the_same_probabilities_in_every_precision(bundle, precision, within):
    p = Classifier.load(bundle, precision=precision).predict(PNGS)
    want = uncalibrated(bundle).sigmoid().numpy()
    assert np.ptp(want, axis=0).min() > 0.03  # the images differ
    np.testing.assert_allclose(p, want, atol=within)


def test_every_kind_of_image_and_every_batch_give_the_same(classifier, tmp_path):
    path = images.put(tmp_path / "a.png", PNGS[0])
    rows = classifier.predict(
        [
            PNGS[0],
            path,
            str(path),
            Image.open(io.BytesIO(PNGS[0])),
            images.grey(seed=0),
            np.dstack([images.grey(seed=0)] * 3),
            images.grey(seed=0).astype(np.uint16) * 257,
        ]
    )
    assert (rows.dtype, rows.shape) == (np.float32, (7, 3))
    np.testing.assert_allclose(rows[:6], np.repeat(rows[:1], 6, axis=0), atol=1e-6)
    np.testing.assert_allclose(rows[6], rows[0], atol=0.01)  # 16 bits are scaled down without rounding in between
    together = classifier.predict(PNGS * 4)
    np.testing.assert_allclose(
        together, np.tile(np.concatenate([classifier.predict([png]) for png in PNGS]), (4, 1)), atol=2e-6
    )


@pytest.mark.parametrize("image", ["image.png", b"bytes", Image.new("L", (4, 4)), Path("image.png")])
def test_one_image_is_no_list(classifier, image):
    with pytest.raises(ThoraxError, match="is no list of images; give a list, also of one image"):
        classifier.predict(image)


def test_an_array_of_images_is_a_list_of_them(classifier):
    stack = np.stack([images.grey(seed=k) for k in range(4)])
    np.testing.assert_allclose(classifier.predict(stack), classifier.predict(PNGS[:4]), atol=2e-6)
    with pytest.raises(ThoraxError, match="may be one image or several; give"):
        classifier.predict(stack[:3])


def test_many_threads_at_once_also_while_explaining(classifier):
    want = classifier.predict(PNGS)
    wrong: list[object] = []

    def work(k: int) -> None:
        try:
            for _ in range(15):
                if k == 0:
                    classifier.explain(PNGS[0], "Mass")
                elif not np.allclose(classifier.predict(PNGS[k : k + 3]), want[k : k + 3], atol=2e-6):
                    wrong.append(k)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_bad_image_never_fails_the_others(classifier, tmp_path):
    rows = classifier.predict_each([PNGS[0], b"no image", tmp_path / "gone.png", PNGS[1]], ["a", "b", "", "d"])
    np.testing.assert_allclose(np.stack([rows[0], rows[3]]), classifier.predict(PNGS[:2]), atol=2e-6)
    assert [type(rows[k]) for k in (1, 2)] == [DecodeError] * 2
    assert str(rows[1]).startswith("b cannot be read") and "gone.png does not exist" in str(rows[2])
    assert classifier.predict_each([b"x"])[0].args


# --- calibration, thresholds, decisions


@pytest.mark.parametrize(
    ("space", "calibration", "temperatures", "biases"),
    [
        (
            images.FINDINGS,
            {"Effusion": {"temperature": 2.0}, "Nodule": {"temperature": 0.5}},
            [2.0, 1.0, 0.5],
            [0.0] * 3,
        ),
        (images.BINARY, {"PNEUMONIA": {"temperature": 3.0}}, [3.0], [0.0]),
        (images.BINARY, {"PNEUMONIA": {"temperature": 0.5, "bias": -1.5, "method": "platt"}}, [0.5], [-1.5]),
        (images.FINDINGS, {"Nodule": {"bias": 2.0}}, [1.0] * 3, [0.0, 0.0, 2.0]),
        (THREE, {name: {"temperature": 1.7} for name in THREE.outputs}, [1.7], [0.0]),
        (THREE, {THREE.outputs[1]: {"bias": 1.0}}, [1.0], [0.0, 1.0, 0.0]),
        (THREE, None, [1.0], [0.0]),
    ],
    ids=["multilabel", "binary", "platt", "bias of one label", "multiclass", "bias of one class", "none"],
)
def test_probabilities_are_calibrated(tmp_path, space, calibration, temperatures, biases):
    bundle = tiny_bundle(tmp_path / "model", space, calibration=calibration)
    logits = uncalibrated(bundle) / torch.tensor(temperatures) + torch.tensor(biases)
    want = logits.softmax(1) if space is THREE else logits.sigmoid()
    np.testing.assert_allclose(Classifier.load(bundle, precision="float32").predict(PNGS), want.numpy(), atol=2e-6)


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf")])
def test_a_temperature_that_cannot_be(tmp_path, temperature):
    bundle = tiny_bundle(tmp_path / "model", calibration={"Mass": {"temperature": temperature}})
    with pytest.raises(ThoraxError, match="a temperature is not a number above 0"):
        Classifier.load(bundle)


def test_decisions_at_the_stored_thresholds(classifier):
    p = np.array([[0.4, 0.49, 0.6], [0.39, 0.5, 0.59], [0, 0, 0]], np.float32)
    assert classifier.decisions(p).tolist() == [[True, False, True], [False, True, False], [False] * 3]
    assert [classifier.predicted(row) for row in p] == [["Effusion", "Nodule"], ["Mass"], []]


@pytest.mark.parametrize(
    ("space", "p", "want"),
    [(images.BINARY, [0.5], "PNEUMONIA"), (images.BINARY, [0.4], "NORMAL"), (THREE, [0.3, 0.2, 0.5], "viral")],
)
def test_one_class_is_predicted(tmp_path, space, p, want):
    classifier = Classifier.load(tiny_bundle(tmp_path / "model", space))
    assert classifier.predicted(np.array(p, np.float32)) == want


# --- heat maps


def test_a_heat_map_is_a_picture_of_the_image(classifier):
    heat = classifier.explain(PNGS[0])
    assert heat.label == classifier.labels[int(classifier.predict([PNGS[0]])[0].argmax())]
    assert (heat.map.shape, heat.map.dtype, heat.image.shape) == ((32, 32), np.float32, (32, 32))
    assert 0 <= heat.map.min() <= heat.map.max() <= 1
    assert heat._repr_png_() == heat.png()  # a notebook shows it
    with Image.open(io.BytesIO(heat.png())) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (32, 32))
        pixels = np.asarray(picture).astype(int)
    cold = heat.map == 0
    np.testing.assert_array_equal(pixels[cold], np.repeat(heat.image[cold][:, None].astype(int), 3, axis=1))
    with pytest.raises(ThoraxError, match="label Gout is not one of Effusion, Mass, Nodule"):
        classifier.explain(PNGS[0], "Gout")


# --- unusual images


def rounds(count: int, seed: int = 0) -> np.ndarray:
    """(count, 64, 64) images: a bright round of any size on black, near the middle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-32:32, -32:32]
    return np.stack(
        [
            (200 * np.exp(-((rows - a) ** 2 + (columns - b) ** 2) / s**2) + rng.normal(20, 5, (64, 64)))
            .clip(0, 255)
            .astype(np.uint8)
            for a, b, s in zip(
                rng.normal(0, 4, count), rng.normal(0, 4, count), rng.uniform(14, 22, count), strict=True
            )
        ]
    )


def test_inverted_and_other_pictures_are_noticed_and_usual_ones_are_not():
    typical = OutOfDistributionDetector.from_dict(OutOfDistributionDetector.of(rounds(300)).to_dict())
    usual = rounds(200, seed=1)
    other = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert np.mean([bool(typical.warnings(image)) for image in usual]) < 0.02
    assert np.mean([typical.warnings(255 - image) == ["looks inverted"] for image in usual]) > 0.9
    assert (
        typical.warnings(other) == typical.warnings(np.roll(usual[0], 30, axis=0)) == ["not like the training images"]
    )
    assert typical.warnings(np.zeros((64, 64), np.uint8)) == ["not like the training images"]


def test_few_images_make_no_detector(classifier):
    assert OutOfDistributionDetector.of(rounds(63)) is None
    assert classifier.detector is None
    assert classifier.warnings(images.grey(32, 32)) == []


@pytest.mark.realdata
def test_real_images_that_are_inverted_or_no_images(realdata):
    from pathlib import Path

    from thorax.data.images import Preprocessing

    def read(pattern: str, step: int) -> np.ndarray:
        return np.stack([Preprocessing(128, 128).image(Path(path)) for path in sorted(realdata.glob(pattern))[::step]])

    typical = OutOfDistributionDetector.of(read("kermany224/train/*/*", 10)[np.random.default_rng(0).permutation(471)])
    usual, photos = read("kermany224/test/*/*", 1), read("coco/val2017/*", 1)
    assert np.mean([bool(typical.warnings(image)) for image in usual]) < 0.02
    assert np.mean([typical.warnings(255 - image) == ["looks inverted"] for image in usual]) > 0.9
    assert np.mean([bool(typical.warnings(photo)) for photo in photos]) > 0.8


def test_at_most_512_images_of_a_set_are_looked_at_and_bad_ones_left_out(tmp_path, monkeypatch):
    from thorax.data import out_of_distribution
    from thorax.data.images import Preprocessing

    paths = [images.put(tmp_path / f"{k}.png", image) for k, image in enumerate(rounds(70))]
    paths[3].write_bytes(b"no image")
    found = out_of_distribution.typical_images(images.sample_set(np.zeros(70), sources=paths), Preprocessing(64, 64))
    assert found is not None and found.warnings(rounds(1, seed=2)[0]) == []
    monkeypatch.setattr(out_of_distribution, "MOST", 60)
    assert (
        out_of_distribution.typical_images(images.sample_set(np.zeros(70), sources=paths), Preprocessing(64, 64))
        is None
    )
