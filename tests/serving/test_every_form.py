"""One image in every form that Python programs have it in is one probability; folders, and what is no image."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

import images as make
from dicoms import dicom
from thorax.data.images import DecodeError
from thorax.errors import ThoraxError
from thorax.serving.classifier import Classifier
from thorax.serving.image_inputs import dicom_to_bytes
from untrained import untrained

GREY = make.grey(48, 40)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return Classifier.load(untrained(tmp_path_factory.mktemp("bundle") / "model"), engine="torch", precision="float32")


def png(image=GREY) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def test_every_form_of_one_image_has_one_probability(classifier, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(png())
    forms = [
        str(file),
        file,
        png(),
        bytearray(png()),
        Image.fromarray(GREY),
        Image.fromarray(GREY).convert("RGB"),
        GREY,
        np.stack([GREY] * 3, axis=2),
        GREY.astype(np.uint16) * 257,
        GREY / 255,
        torch.from_numpy(GREY),
        torch.from_numpy(GREY)[None],
        torch.from_numpy(GREY).expand(3, -1, -1),
        torch.from_numpy(GREY)[None] / 255,
        GREY[None],
        GREY[:, :, None],
        np.stack([GREY] * 3),
        np.stack([GREY] * 3, axis=2) / 255,
        io.BytesIO(png()),
    ]
    found = classifier.predict(forms)
    assert found.shape == (len(forms), 1)
    np.testing.assert_allclose(found[:, 0], found[0, 0], atol=2e-4)
    forms[-1].seek(0)
    np.testing.assert_array_equal(classifier.predict(iter(forms)), found)  # a generator too, such as folder.glob("*")


@pytest.mark.parametrize("shape", [(3, 40, 50), (1, 40, 50), (40, 50, 3), (40, 50, 1)])
@pytest.mark.parametrize("make_it", [np.zeros, torch.zeros])
def test_what_may_be_one_image_or_several_is_refused(classifier, make_it, shape):
    """It was scored row by row, or channel by channel."""
    with pytest.raises(ThoraxError, match=r"of shape \(.*\) may be one image or several; give \[image\]"):
        classifier.predict(make_it(shape))


def test_a_tensor_of_several_images_is_a_list_of_them(classifier):
    several = torch.from_numpy(np.stack([GREY, GREY[::-1].copy()]))[:, None]
    np.testing.assert_allclose(classifier.predict(several), classifier.predict([GREY, GREY[::-1]]), atol=1e-6)


def test_a_folder_is_its_images_in_order_alone_and_among_others(classifier, tmp_path):
    for name, image in (("b.png", GREY), ("sub/a.png", GREY[::-1]), ("c.png", GREY[:, ::-1])):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png(np.ascontiguousarray(image)))
    (tmp_path / "README.md").write_text("no image")
    alone = classifier.predict([tmp_path / name for name in ("b.png", "c.png", "sub/a.png")])
    for given in (tmp_path, str(tmp_path), [tmp_path]):
        np.testing.assert_array_equal(classifier.predict(given), alone)
    np.testing.assert_allclose(classifier.predict([GREY, tmp_path])[1:], alone, atol=1e-6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ThoraxError, match="empty holds no images"):
        classifier.predict(tmp_path / "empty")


def test_a_dicom_dataset_is_the_file_it_came_from(classifier, tmp_path):
    file = tmp_path / "x.dcm"
    file.write_bytes(dicom(GREY))
    dataset = pydicom.dcmread(file)
    by_file = classifier.predict([file])
    np.testing.assert_array_equal(classifier.predict([dataset]), by_file)
    del dataset.file_meta  # as one that a program made
    np.testing.assert_array_equal(classifier.predict([dataset]), by_file)
    del dataset.PixelData
    with pytest.raises(DecodeError, match="without PixelData"):
        dicom_to_bytes(dataset)


@pytest.mark.parametrize("single", [GREY, "a.png", b"bytes", torch.from_numpy(GREY), Image.fromarray(GREY)])
def test_a_single_image_is_refused_by_one_line(classifier, single):
    with pytest.raises(ThoraxError, match="is no list of images; give a list, also of one image"):
        classifier.predict(single)


@pytest.mark.parametrize("several", [{"a.png"}, {"a": "b.png"}])
def test_what_has_no_order_is_no_list(classifier, several):
    with pytest.raises(ThoraxError, match="is no list of images"):
        classifier.predict(several)


@pytest.mark.parametrize("nothing", [None, 3, {"a": 1}, [1, 2]])
def test_what_is_no_image_says_what_is_one(classifier, nothing):
    with pytest.raises(DecodeError, match="is no image; give a path, bytes, an array, a PIL image"):
        classifier.predict([nothing])
