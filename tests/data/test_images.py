"""The decoder and the Preprocessing: every kind of file to the same grey levels, golden output, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import images as xrays
from thorax.data.images import MAX_PIXELS, DecodeError, Preprocessing, decode

IMAGE = xrays.grey()


# --- any mode, one grey image


def as_mode(mode: str) -> bytes:
    image = Image.fromarray(IMAGE)
    match mode:
        case "LA":
            image.putalpha(255)
        case "P":
            image = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        case "RGB" | "RGBA":
            image = image.convert(mode)
        case "I;16":
            image = Image.fromarray(IMAGE.astype(np.uint16) * 257)
    return xrays.data(image)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_lossless_modes_give_the_same_grey(mode):
    np.testing.assert_array_equal(decode(as_mode(mode), "image"), IMAGE)


def test_palette_gives_its_greys():
    palette = Image.fromarray(IMAGE // 16 * 16).convert("RGB").quantize(16, dither=Image.Dither.NONE)
    assert palette.mode == "P"
    np.testing.assert_array_equal(decode(xrays.data(palette), "image"), np.asarray(palette.convert("L")))
    assert np.abs(decode(xrays.data(palette), "image").astype(int) - IMAGE // 16 * 16).max() <= 8


def test_one_bit_is_black_and_white():
    bits = IMAGE > 127
    np.testing.assert_array_equal(decode(xrays.data(Image.fromarray(bits)), "image"), np.where(bits, 255, 0))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_modes(mode):
    xray = xrays.smooth(80, 96)
    got = decode(xrays.data(Image.fromarray(xray).convert(mode), "JPEG", quality=100, subsampling=0), "image")
    assert got.shape == xray.shape
    assert np.abs(got.astype(int) - xray).max() <= 3


def test_transparency_is_black():
    image = Image.fromarray(np.full((4, 6), 200, np.uint8)).convert("RGBA")
    alpha = np.full((4, 6), 255, np.uint8)
    alpha[:, 3:] = 0
    image.putalpha(Image.fromarray(alpha))
    got = decode(xrays.data(image), "image")
    assert (got[:, :3] == 200).all()
    assert (got[:, 3:] == 0).all()


def test_sixteen_bits_use_their_full_range():
    ramp = np.linspace(0, 65535, 4096).reshape(64, 64).round().astype(np.uint16)
    got = decode(xrays.data(Image.fromarray(ramp)), "image")
    assert (got.min(), got.max()) == (0, 255)
    assert np.abs(got - ramp / 257).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_sixteen_bits_are_the_same_image_as_eight(fit):
    prepared = Preprocessing(24, 32, fit=fit, resize=32 if fit == "crop" else None)
    eight, sixteen = (prepared.image(as_mode(mode)).astype(int) for mode in ("L", "I;16"))
    assert np.abs(eight - sixteen).max() <= 1


# --- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    np.testing.assert_array_equal(decode(xrays.turned(IMAGE, orientation), "image"), IMAGE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_orientation_comes_before_the_fit(orientation, fit):
    xray = xrays.smooth(240, 320)
    prepared = Preprocessing(48, 80, fit=fit, resize=100 if fit == "crop" else None)
    upright = prepared.image(xrays.data(xray, "JPEG", quality=95)).astype(int)
    got = prepared.image(xrays.turned(xray, orientation, "JPEG")).astype(int)
    assert got.shape == (48, 80)
    assert np.abs(got - upright).mean() < 2  # another JPEG quality, and blocks that lie otherwise


# --- sizes and places


def test_stretch_gives_up_the_aspect():
    xray = np.zeros((60, 90), np.uint8)
    xray[:30, 45:] = 255
    got = Preprocessing(20, 20).image(xrays.data(xray))
    assert got.shape == (20, 20)
    assert (got[:9, 11:] == 255).all()
    assert (got[11:] == 0).all()
    assert (got[:, :9] == 0).all()


@pytest.mark.parametrize(("height", "width", "bars"), [(30, 60, (5, 0)), (60, 30, (0, 5))])
def test_pad_keeps_the_aspect_between_black_bars(height, width, bars):
    got = Preprocessing(20, 20, fit="pad").image(xrays.data(np.full((height, width), 200, np.uint8)))
    down, right = bars
    want = np.zeros((20, 20), np.uint8)
    want[down : 20 - down, right : 20 - right] = 200
    np.testing.assert_array_equal(got, want)


def test_crop_is_the_middle():
    np.testing.assert_array_equal(Preprocessing(20, 24, fit="crop").image(xrays.data(IMAGE)), IMAGE[10:30, 12:36])


def test_crop_after_the_short_side_is_scaled():
    xray = xrays.smooth(200, 400)
    got = Preprocessing(80, 80, fit="crop", resize=100).image(xrays.data(xray))
    whole = np.asarray(Image.fromarray(xray).resize((200, 100), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(got - whole[10:90, 60:140]).max() <= 2


@settings(max_examples=50, deadline=None)
@given(height=st.integers(20, 60), width=st.integers(24, 60), down=st.floats(0, 1), right=st.floats(0, 1))
def test_any_crop_is_a_piece_of_the_image(height, width, down, right):
    xray = xrays.grey(height, width)
    got = Preprocessing(20, 24, fit="crop").crop(xray, "image", down, right)
    top, left = round(down * (height - 20)), round(right * (width - 24))
    np.testing.assert_array_equal(got, xray[top : top + 20, left : left + 24])


def test_crops_reach_every_corner():
    prepared = Preprocessing(20, 24, fit="crop")
    np.testing.assert_array_equal(prepared.crop(IMAGE, "image", 0, 0), IMAGE[:20, :24])
    np.testing.assert_array_equal(prepared.crop(IMAGE, "image", 1, 1), IMAGE[-20:, -24:])


@pytest.mark.parametrize(("height", "width"), [(41, 20), (20, 49), (64, 64)])
def test_a_image_smaller_than_the_crop_is_refused(height, width):
    with pytest.raises(
        DecodeError,
        match=rf"image\.png has 48x40 pixels, less than the crop of {width}x{height}; set resize={max(height, width)}",
    ):
        Preprocessing(height, width, fit="crop").image(xrays.data(IMAGE), "image.png")


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    fit=st.sampled_from(["stretch", "pad", "crop"]),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_every_image_gets_the_one_size(height, width, fit, size):
    prepared = Preprocessing(*size, fit=fit, resize=max(size) if fit == "crop" else None)
    got = prepared.image(xrays.data(xrays.grey(height, width)))
    assert got.shape == size
    assert got.dtype == np.uint8


@pytest.mark.parametrize("target", [(50, 65), (64, 64), (100, 130), (130, 171), (224, 224), (399, 519)])
def test_draft_decoding_equals_a_full_decode(target):
    """libjpeg's scaled decode and reducing_gap, against decoding all and resizing.

    At most 3 grey levels, 0.5 on average.
    """
    jpeg = xrays.data(xrays.smooth(), "JPEG", quality=92)
    full = np.asarray(Image.fromarray(decode(jpeg, "image")).resize(target[::-1], Image.Resampling.BILINEAR)).astype(
        int
    )
    difference = np.abs(Preprocessing(*target).image(jpeg).astype(int) - full)
    assert difference.max() <= 3
    assert difference.mean() <= 0.5


def test_a_path_and_its_bytes_are_the_same_image(tmp_path):
    path = xrays.put(tmp_path / "xray.jpeg", xrays.smooth(100, 120))
    prepared = Preprocessing(32, 32)
    np.testing.assert_array_equal(prepared.image(path), prepared.image(path.read_bytes()))


# --- what is refused


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"path,labels\na.png,Mass\n", "its content is neither"),
        (xrays.data(IMAGE)[:300], "truncated"),
        (xrays.data(xrays.smooth(), "JPEG")[:4000], "truncated"),
        (xrays.data(IMAGE, "TGA"), "its content is neither"),
    ],
    ids=["empty", "text", "cut png", "cut jpeg", "tga"],
)
@pytest.mark.parametrize("from_path", [True, False])
def test_unreadable_images_are_named(tmp_path, content, reason, from_path):
    path = tmp_path / "image.png"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=rf"image\.png cannot be read.*: .*{reason}") as caught:
        Preprocessing(16, 16).image(path if from_path else content, str(path))
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), kind=st.sampled_from(["PNG", "JPEG"]), cut=st.booleans())
def test_damage_anywhere_is_a_image_or_an_error_that_names_it(at, byte, kind, cut):
    content = bytearray(xrays.data(xrays.grey(16, 20), kind))
    at %= len(content)
    if cut:
        del content[at:]
    else:
        content[at] = byte
    message = ""
    try:
        assert Preprocessing(8, 8).image(bytes(content), "image").shape == (8, 8)
    except DecodeError as error:
        message = str(error)
    assert message == "" or message.startswith("image ")


def test_a_missing_image(tmp_path):
    with pytest.raises(DecodeError, match=r"gone\.png does not exist"):
        Preprocessing(8, 8).image(tmp_path / "gone.png")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(DecodeError, match="cannot be read"):
        Preprocessing(8, 8).image(tmp_path)


def test_a_decompression_bomb_is_not_read():
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(
        DecodeError,
        match=f"bomb cannot be read as PNG: it claims {side}x{side} pixels, more than the {MAX_PIXELS} that are read",
    ):
        Preprocessing(8, 8).image(xrays.huge(side, side), "bomb")


def test_bytes_without_a_name_say_how_many():
    with pytest.raises(DecodeError, match="an image of 4 bytes cannot be read"):
        Preprocessing(8, 8).image(b"abcd")


# --- the network's input


def test_each_image_gets_mean_0_and_std_1():
    batch = torch.from_numpy(np.stack([IMAGE, IMAGE // 4, 255 - IMAGE]))
    x = Preprocessing(40, 48).tensor(batch)
    assert x.shape == (3, 1, 40, 48)
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.mean((1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((1, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_a_image_does_not_depend_on_its_batch():
    prepared, batch = Preprocessing(40, 48), torch.from_numpy(np.stack([IMAGE, IMAGE // 2]))
    torch.testing.assert_close(prepared.tensor(batch)[1:], prepared.tensor(batch[1:]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("normalization", ["image", "fixed", "dataset"])
def test_a_constant_image_is_finite(level, normalization):
    x = Preprocessing(8, 8, normalization=normalization).tensor(torch.full((1, 8, 8), level, dtype=torch.uint8))
    assert torch.isfinite(x).all()
    if normalization == "image":
        assert (x == 0).all()


@pytest.mark.parametrize(("normalization", "mean", "std"), [("fixed", 0.5, 0.25), ("dataset", 0.4, 0.2)])
def test_fixed_normalisation(normalization, mean, std):
    x = Preprocessing(1, 3, normalization=normalization, mean=mean, std=std).tensor(
        torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)
    )
    want = torch.tensor([(0 - mean) / std, (0.2 - mean) / std, (1 - mean) / std])
    torch.testing.assert_close(x.flatten(), want)


def test_three_channels_are_one_three_times():
    batch = torch.from_numpy(IMAGE[None])
    one, three = (Preprocessing(40, 48, channels).tensor(batch) for channels in (1, 3))
    assert three.shape == (1, 3, 40, 48)
    for channel in range(3):
        torch.testing.assert_close(three[:, channel : channel + 1], one)


def test_floats_after_augmentation_are_prepared_as_bytes_are():
    batch = torch.from_numpy(IMAGE[None])
    torch.testing.assert_close(Preprocessing(40, 48).tensor(batch), Preprocessing(40, 48).tensor(batch.float()))


# --- golden output: a change here changes what every stored bundle answers


@pytest.mark.parametrize(
    ("prepared", "digest", "statistics"),
    [
        (Preprocessing(32, 32), "6d202025a3109a34", (0.0, 1.0, -2.110127, 1.928897, 1.67758)),
        (
            Preprocessing(32, 32, channels=3, fit="pad", normalization="fixed"),
            "c75d021cf227aba2",
            (-0.46178, 1.10303, -2.0, 1.607843, 0.243137),
        ),
        (
            Preprocessing(28, 36, fit="crop", resize=38, normalization="dataset", mean=0.4, std=0.2),
            "94c189f066abf002",
            (0.505349, 1.189454, -1.686275, 2.666667, 1.372549),
        ),
    ],
    ids=["stretch", "pad", "crop"],
)
def test_golden_image(prepared, digest, statistics):
    xray = prepared.image(xrays.data(xrays.grey(70, 90)))
    assert hashlib.sha256(xray.tobytes()).hexdigest()[:16] == digest
    x = prepared.tensor(torch.from_numpy(xray.copy())[None])
    got = (x.mean(), x.std(correction=0), x.min(), x.max(), x[0, 0, 5, 9])
    assert [float(v) for v in got] == pytest.approx(statistics, abs=1e-5)


# --- stored and read back


@given(
    height=st.integers(1, 2000),
    width=st.integers(1, 2000),
    channels=st.sampled_from([1, 3]),
    fit=st.sampled_from(["stretch", "crop", "pad"]),
    resize=st.none() | st.integers(8, 2000),
    normalization=st.sampled_from(["image", "fixed", "dataset"]),
    mean=st.floats(0, 1),
    std=st.floats(0.01, 1),
    grey=st.sampled_from([1, 2]),
)
def test_round_trip(**fields):
    prepared = Preprocessing(**fields)
    again = Preprocessing.from_dict(json.loads(json.dumps(prepared.to_dict())))
    assert again == prepared
    assert again.fingerprint() == prepared.fingerprint()


def test_every_field_is_in_the_fingerprint():
    base = {"height": 8, "width": 8}
    other = {
        "height": 9,
        "width": 9,
        "channels": 3,
        "fit": "pad",
        "resize": 9,
        "normalization": "fixed",
        "mean": 0.1,
        "std": 0.1,
        "grey": 1,
        "color": "rgb",
    }
    assert set(other) == {field.name for field in fields(Preprocessing)}
    prints = {Preprocessing(**{**base, name: value}).fingerprint() for name, value in other.items()}
    assert len(prints | {Preprocessing(**base).fingerprint()}) == len(other) + 1
