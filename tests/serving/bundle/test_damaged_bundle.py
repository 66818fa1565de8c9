"""What is no bundle, half a bundle, a damaged or a newer one is refused in one line."""

from __future__ import annotations

import math
import os

import pytest

import images
from written_bundles import PREPARED, THREE_CHANNELS, described, refused


def test_a_folder_that_is_no_bundle(tmp_path):
    assert "is not a bundle: it has no bundle.json; name the model folder of a finished job" in refused(tmp_path)
    assert "is not a bundle" in refused(tmp_path / "gone")


def test_without_its_description_it_is_no_bundle(copied):
    """bundle.json is written last of all: a run killed before has left none."""
    (copied / "bundle.json").unlink()
    assert "is not a bundle" in refused(copied)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '{"version": 1}', '{"version": "one"}', "\x00\x01"])
def test_a_damaged_description(copied, text):
    (copied / "bundle.json").write_text(text)
    assert "bundle.json is damaged" in refused(copied)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": None},
        {"network": "cnn5"},
        {"network": {"name": "cnn5"}},
        {"labels": None},
        {"labels": ["a", "b"]},
        {"preprocessing": {"height": 3}},
        {"preprocessing": {**PREPARED.to_dict(), "rotate": 9}},
        {"thresholds": None},
        {"metrics": None},
        {"split": None},
    ],
)
def test_a_description_with_other_fields(copied, changes):
    described(copied, **changes)
    assert "bundle.json is damaged" in refused(copied)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"thresholds": {"PNEUMONIA": math.nan}}, "thresholds.PNEUMONIA is NaN, not a number in 0..1"),
        ({"thresholds": {"PNEUMONIA": 2}}, "thresholds.PNEUMONIA is 2, not a number in 0..1"),
        ({"thresholds": {"PNEUMONIA": True}}, "thresholds.PNEUMONIA is true"),
        ({"thresholds": [0.5]}, "thresholds is [0.5], not a mapping"),
        ({"network": ["cnn5"]}, 'network is ["cnn5"], not a mapping'),
        ({"network": {"name": ["cnn5"], "dropout": 0}}, 'network.name is ["cnn5"], not a text'),
        ({"network": {"name": "cnn5", "dropout": "x"}}, 'network.dropout is "x", not a number in 0..1'),
        ({"network": {"name": "cnn5", "dropout": -0.1}}, "network.dropout is -0.1"),
        ({"labels": {"classes": "ab", "task": "binary"}}, 'labels.classes is "ab", not a list of texts'),
        ({"labels": {"classes": ["a", 1], "task": "binary"}}, "labels.classes is "),
        ({"labels": {"classes": ["a", "a"], "task": "binary"}}, "not a list of different texts"),
        ({"labels": {"classes": [], "task": "multilabel"}}, "labels.classes is []"),
        ({"films": {"junk": 1}}, "mean"),
        ({"films": "junk"}, 'films is "junk", not a mapping'),
        ({"films": {"mean": ["x"], "components": [], "deviations": [], "limits": [1, 1]}}, "damaged"),
        ({"calibration": {"PNEUMONIA": {"temperature": -1}}}, "a temperature is not a number above 0"),
        ({"configuration": "x" * 9999}, f'configuration is "{"x" * 59}..., not a mapping'),
        ({"compute": 7}, "compute is 7"),
        ({"version": "1"}, "its version is '1'"),
        ({"version": 1e400}, "its version is inf"),
    ],
)
def test_values_of_another_kind_are_named(copied, changes, named):
    described(copied, **changes)
    line = refused(copied)
    assert named in line
    assert len(line) < 400


@pytest.mark.parametrize("side", [0, -1, 10**9, 3.5, "32", None])
def test_sizes_that_no_image_has(copied, side):
    described(copied, preprocessing={**PREPARED.to_dict(), "height": side})
    assert "preprocessing.height is " in refused(copied)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, '{"version": ' + "9" * 5000 + "}"])
def test_texts_that_are_made_to_hurt(copied, text):
    (copied / "bundle.json").write_text(text)
    assert "bundle.json is damaged" in refused(copied)


@pytest.mark.parametrize("name", ["bundle.json", "model.safetensors"])
@pytest.mark.parametrize("hashes", [True, False], ids=["hashes", "an earlier bundle"])
@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "folder"])
def test_what_is_no_regular_file_is_not_read(copied, name, hashes, place):
    """A pipe would wait for ever, a device never end."""
    if not hashes:
        described(copied, files_sha256={})
    file = copied / name
    file.unlink()
    match place:
        case "pipe":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case _:
            file.symlink_to(place)
    assert name in refused(copied)


def test_a_preprocessing_that_was_changed_by_hand(copied):
    described(copied, preprocessing={**PREPARED.to_dict(), "normalization": "fixed"})
    assert "bundle.json is damaged (its preprocessing was changed by hand)" in refused(copied)


def test_a_newer_version_says_so(copied):
    described(copied, version=4)
    assert "has version 4, this program reads up to 3; update it" in refused(copied)


def test_a_network_that_is_not_known(copied):
    described(copied, network={"name": "resnet19", "dropout": 0.0})
    assert "resnet19" in refused(copied)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": images.FINDINGS.to_dict()},
        {"preprocessing": THREE_CHANNELS.to_dict(), "preprocessing_fingerprint": THREE_CHANNELS.fingerprint()},
    ],
    ids=["more labels", "more channels"],
)
def test_weights_of_other_labels_or_channels_are_not_adapted(copied, changes):
    """What fine-tuning allows, a server must not: it would answer with a head that was never trained."""
    described(copied, **changes)
    assert "model.safetensors does not fit" in refused(copied)


def test_weights_of_another_network(copied):
    described(copied, network={"name": "resnet18", "dropout": 0.0})
    assert "does not fit the network" in refused(copied)


@pytest.mark.parametrize("hashes", [True, False], ids=["hashes", "an earlier bundle"])
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn"])
def test_missing_or_torn_weights(copied, content, hashes):
    if not hashes:
        described(copied, files_sha256={})
    (copied / "model.safetensors").unlink()
    if content is not None:
        (copied / "model.safetensors").write_bytes(content)
    torn = "model.safetensors is missing or cannot be read" if content is None else "model.safetensors is damaged"
    assert (torn if hashes else f"{copied / 'model.safetensors'} is not a state_dict") in refused(copied)
