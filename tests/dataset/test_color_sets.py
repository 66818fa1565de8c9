"""Sets in colour: every form of storage holds the same pixels; statistics of each channel; labels that colour tells."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

import images
from photos import photo, smooth_photo, tinted, told_by_color
from preparing import contents, run, sixteen_images
from thorax.data.decoders import RGB, decode
from thorax.data.formats import read_channel
from thorax.data.loading import EvaluationBatches, ImageDataset
from thorax.data.preprocessing import Preprocessing
from thorax.data.samples import label_space, sample_set
from thorax.dataset.checking import check, check_page


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    for k in range(8):
        images.put(root / ("a", "b")[k % 2] / f"person{k}_1.png", images.data(photo(48, 64, seed=k)))
    images.put(root / "a" / "person9_1.png", images.grey(48, 64))  # one is grey
    return root


def prepared(folder, size=(32, 32)):
    """The images of a channel by label, as training reads them."""
    listing = read_channel("x", folder)
    samples = sample_set("x", listing, label_space(listing, listing.names, None))
    data = ImageDataset(samples, Preprocessing(*size, 3, color=RGB))
    batch = data[next(iter(EvaluationBatches(len(samples), 64, 0, 1)))]
    order = np.lexsort(batch.images.numpy().reshape(len(samples), -1)[:, :50].T)
    return batch.images.numpy()[order]


@pytest.mark.parametrize(
    "options",
    [
        ("--to", "shards"),
        ("--to", "rec"),
        ("--to", "shards", "--encode", "png"),
        ("--to", "shards", "--encode", "raw"),
        ("--to", "rec", "--encode", "raw"),
        ("--to", "shards", "--encode", "raw", "--color", "rgb", "--size", "32x32"),
    ],
)
def test_every_storage_holds_the_same_pixels(options, photos, tmp_path, capsys):
    assert run("pack", photos, tmp_path / "packed", "--processes", 1, *options) == 0
    np.testing.assert_array_equal(prepared(tmp_path / "packed"), prepared(photos))
    said = capsys.readouterr().out
    asked = "--encode" in options and "--color" not in options
    assert ("color: rgb: 8 of 9 sampled images carry colour" in said) == asked
    assert run("pack", tmp_path / "packed", "--verify", "--processes", 1) == 0


def test_raw_colours_are_ppm_and_raw_grey_is_pgm(photos, tmp_path):
    run("pack", photos, tmp_path / "raw", "--encode", "raw", "--processes", 1)
    sources = read_channel("x", tmp_path / "raw").sources
    assert sorted(source.read()[:2] for source in sources) == [b"P5"] + [b"P6"] * 8
    assert all(decode(source, "image", color=RGB).shape == (48, 64, 3) for source in sources)


def test_gray_packs_as_before_there_were_colours(photos, tmp_path):
    xrays = sixteen_images(tmp_path / "xrays")
    for folder, more in (("auto", ()), ("gray", ("--color", "gray"))):
        assert run("pack", xrays, tmp_path / folder, "--encode", "raw", "--processes", 1, *more) == 0
    assert contents(tmp_path / "auto") == contents(tmp_path / "gray")
    assert "color" not in json.loads((tmp_path / "auto" / ".SHA256SUMS.plan").read_text())
    run("pack", photos, tmp_path / "made", "--encode", "png", "--color", "gray", "--processes", 1)
    image = read_channel("x", tmp_path / "made").sources[0]
    assert decode(image, "image", color=RGB).shape == (48, 64, 3)
    assert not np.ptp(decode(image, "image", color=RGB), axis=2).any()


def test_statistics_are_those_of_each_channel(photos, tmp_path, capsys):
    assert run("stats", photos, "--json", tmp_path / "s.json", "--png", tmp_path / "s.png", "--processes", 1) == 0
    found = json.loads((tmp_path / "s.json").read_text())
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in sorted(photos.rglob("*.png"))])
    np.testing.assert_allclose(found["mean_rgb"], pixels.reshape(-1, 3).mean(0) / 255, atol=1e-6)
    np.testing.assert_allclose(found["std_rgb"], pixels.reshape(-1, 3).std(0) / 255, atol=1e-6)
    assert "mean of red, green, blue" in capsys.readouterr().out
    assert run("stats", photos, "--json", tmp_path / "g.json", "--color", "gray", "--processes", 1) == 0
    grey = json.loads((tmp_path / "g.json").read_text())
    assert "mean_rgb" not in grey and grey["mean"] == pytest.approx(found["mean"], abs=1e-3)
    assert run("stats", sixteen_images(tmp_path / "x"), "--json", tmp_path / "x.json", "--processes", 1) == 0
    assert "mean_rgb" not in json.loads((tmp_path / "x.json").read_text())


def test_a_label_told_by_colour_is_found(tmp_path):
    report = check(told_by_color(tmp_path / "told", 60))
    report.findings[0].images[:] = [[0]]  # so that the page shows an image
    thumbnail = re.search(r"data:image/png;base64,([^\"']+)", check_page(report))
    assert Image.open(io.BytesIO(base64.b64decode(thumbnail[1]))).mode == "RGB"
    found = [finding for finding in report.findings if finding.check == "leak-tint"]
    assert len(found) == 1 and "the mean colour alone separates warm from cool with AUC 1.000" in found[0].message
    for k in range(60):  # the same pictures, tinted without regard to the label
        grey = images.grey(36, 36, seed=k)
        folder = tmp_path / "even" / ("cool", "warm")[k % 2]
        images.put(
            folder / f"person{k}_1.png", images.data(tinted(grey, (1, 0.8, 0.5) if k % 4 < 2 else (0.6, 0.8, 1)))
        )
    assert not [finding for finding in check(tmp_path / "even").findings if finding.check == "leak-tint"]


def test_a_photo_is_packed_smaller_in_its_colours(tmp_path):
    pixels = smooth_photo(100, 130)
    images.put(tmp_path / "in" / "a" / "p1_1.png", images.data(pixels))
    images.put(tmp_path / "in" / "b" / "p2_1.png", images.data(pixels[::-1].copy()))
    assert run("pack", tmp_path / "in", tmp_path / "out", "--size", "50", "--processes", 1) == 0
    listing = read_channel("x", tmp_path / "out")
    source = listing.sources[list(listing.ids).index("a/p1_1.png")]
    got = decode(source, "image", color=RGB).astype(int)
    want = np.asarray(Image.fromarray(pixels).resize((65, 50), Image.Resampling.BILINEAR, reducing_gap=3.0))
    assert got.shape == (50, 65, 3) and np.abs(got - want).mean() < 3
