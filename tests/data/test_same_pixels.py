"""One image has one answer: as JPEG, PNG or array; 16 bits keep their depth; and a bundle keeps its rules."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import images
import tiffs
from conftest import ROOT
from pngs import png16
from thorax import Classifier
from thorax.data.decoders import header
from thorax.data.images import DecodeError, Preprocessing, decode
from thorax.errors import ThoraxError

IMAGE = images.grey()


def as_png(jpeg):
    """The very pixels of a JPEG, as a PNG."""
    return images.data(Image.open(io.BytesIO(jpeg)))


def textured(height, width, seed):
    """As an X-ray is: smooth, with ribs, edges and noise."""
    rng = np.random.default_rng(seed)
    noise = np.kron(rng.normal(0, 12, (height // 4 + 1, width // 4 + 1)), np.ones((4, 4)))[:height, :width]
    ribs = 25 * (np.sin(np.arange(height) / 9) > 0.6)[:, None]
    return (images.smooth(height, width) * 0.8 + noise + ribs).clip(0, 255).astype(np.uint8)


def difference(jpeg, side, grey):
    """Root mean square, in units of the network's input, whose std is 1."""
    prepared = Preprocessing(side, side, grey=grey)
    x = prepared.tensor(torch.from_numpy(np.stack([prepared.image(content) for content in (jpeg, as_png(jpeg))])))
    return float((x[0] - x[1]).square().mean().sqrt())


@pytest.mark.parametrize("size", [(500, 430), (700, 900), (1500, 1300)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_is_prepared_as_its_pixels_are(size, mode):
    jpeg = images.data(Image.fromarray(textured(*size, seed=1)).convert(mode), "JPEG", quality=90)
    assert max(difference(jpeg, side, 2) for side in (64, 128, 200)) < 0.02
    assert max(difference(jpeg, side, 1) for side in (64, 128, 200)) > 0.05  # the earlier rules


@pytest.mark.realdata
def test_every_real_image_has_one_probability(realdata, tmp_path):
    """By a network trained on them, whose answers depend on the pixels: JPEG and PNG differ by less than 0.003"""
    program = [sys.executable, ROOT / "source_dir" / "train_model.py", "--train", realdata / "kermany_native" / "train"]
    options = ["--network", "cnn5", "--image-shape", "1,128,128", "--epochs", 6, "--mini-batch-size", 8]
    command = [*program, *options, "--learning-rate", 0.001, "--model-dir", tmp_path / "model"]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    classifier = Classifier.load(tmp_path / "model", precision="float32")
    files = sorted((realdata / "kermany_native").rglob("*.jpeg"))
    given = np.concatenate([classifier.predict([file]) for file in files])
    again = np.concatenate([classifier.predict([as_png(file.read_bytes())]) for file in files])
    assert len(files) > 100 and np.ptp(given) > 0.2
    assert np.abs(given - again).max() < 0.003


# --- 16 bits with colours or transparency


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["LA", "RGB", "RGBA"]),
    depth=st.sampled_from([10, 12, 14, 16]),
    interlaced=st.booleans(),
    seed=st.integers(0, 9),
)
def test_png_of_sixteen_bits_keeps_its_depth(mode, depth, interlaced, seed):
    """The grey of each pixel by hand: BT.601 of the samples, on black, over the white of their depth."""
    rng = np.random.default_rng(seed)
    channels = len(mode)
    samples = rng.integers(0, 1 << depth, (13, 17, channels)).astype(np.uint16)
    samples[0, 0, : channels - (mode != "RGB")] = (1 << depth) - 1
    if mode != "RGB":
        samples[..., -1] = 65535
        samples[5:, :4, -1] = 32768
    content = png16(samples, interlaced=interlaced)
    grey = samples[..., 0] if mode == "LA" else samples[..., :3] @ np.array([0.299, 0.587, 0.114])
    alpha = 1 if mode == "RGB" else samples[..., -1] / 65535
    want = grey * alpha / ((1 << depth) - 1) * 255
    assert np.abs(decode(content, "image") - want).max() <= 1
    assert header(content, "image").bits == 16


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_tiff_of_sixteen_bits_is_the_png(order, packed, channels):
    rng = np.random.default_rng(channels)
    samples = rng.integers(0, 4096, (13, 17, channels)).astype(np.uint16)
    if channels == 4:
        samples[..., 3] = rng.integers(0, 65536, (13, 17))
    content = tiffs.colour(samples, order, packed)
    np.testing.assert_array_equal(decode(content, "image"), decode(png16(samples), "image"))
    assert header(content, "image").bits == 16


def test_twelve_bits_in_a_colour_png_are_not_sixteen_levels():
    """Cut to the high byte they were."""
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    content = png16(np.stack([ramp] * 3, -1))
    assert len(np.unique(decode(content, "image"))) == 256
    assert len(np.unique(decode(content, "image", grey=1))) == 16


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_png_of_sixteen_bits_is_that_of_eight_bits(mode):
    """x 257: the very same greys, of which the whole range is kept."""
    eight = Image.merge("RGBA", [Image.fromarray(np.roll(IMAGE, k, k % 2)) for k in range(4)]).convert(mode)
    samples = np.asarray(eight).astype(np.uint16) * 257
    got = decode(png16(samples if samples.ndim == 3 else samples[..., None]), "image").astype(int)
    assert np.abs(got - decode(images.data(eight), "image")).max() <= 1


@pytest.mark.parametrize("spoil", [lambda c: c[:-60], lambda c: c[:100] + b"\x55" + c[101:]], ids=["cut", "changed"])
def test_damaged_ones_are_refused(spoil):
    content = png16(np.random.default_rng(0).integers(0, 65536, (13, 17, 3)).astype(np.uint16))
    with pytest.raises(DecodeError, match=r"^image cannot be read as PNG: "):
        decode(spoil(content), "image")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_hot_pixel_is_not_the_white(kind):
    stored = np.rint(images.smooth(40, 48) * (4095 / 255)).astype(np.uint16)
    plain = decode(images.data(Image.fromarray(stored), kind), "image")
    stored[7, 7] = 65535
    got = decode(images.data(Image.fromarray(stored), kind), "image").copy()
    assert got[7, 7] == 255
    got[7, 7] = plain[7, 7]
    np.testing.assert_array_equal(got, plain)
    assert decode(images.data(Image.fromarray(stored), kind), "image", grey=1).mean() < 10  # nearly black


# --- rules are stored


def test_a_description_without_rules_has_the_earlier_ones():
    stored = {"height": 32, "width": 32, "channels": 1, "fit": "stretch", "resize": None, "normalization": "film"}
    old = Preprocessing.from_dict(stored | {"mean": 0.5, "deviation": 0.25})
    assert old.grey == 1 and "grey" not in old.to_dict()
    assert Preprocessing.from_dict(Preprocessing(32, 32).to_dict()).grey == 2
    with pytest.raises(ThoraxError, match=r"its pixels follow the rules 3 .*, this program knows 1 to 2; update it"):
        Preprocessing.from_dict(stored | {"grey": 3})


def test_the_earlier_rules_give_the_earlier_pixels():
    """Golden: what version 0.2.0 made of them."""
    old = Preprocessing(64, 64, grey=1)
    jpeg = images.data(images.smooth(400, 520), "JPEG", quality=92)
    hot = images.data(Image.fromarray(np.where(np.eye(70) > 0, 40000, IMAGE[0, 0]).astype(np.uint16)))
    got = [hashlib.sha256(old.image(content).tobytes()).hexdigest()[:16] for content in (jpeg, hot)]
    assert got == ["2a44304ca2f79bd9", "6fda9b9d755060d0"]
    assert not np.array_equal(old.image(jpeg), replace(old, grey=2).image(jpeg))
