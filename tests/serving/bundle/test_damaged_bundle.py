"""What is no bundle, half a bundle, a damaged or a newer one is refused in one line."""

from __future__ import annotations

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


def test_a_preprocessing_that_was_changed_by_hand(copied):
    described(copied, preprocessing={**PREPARED.to_dict(), "normalization": "fixed"})
    assert "bundle.json is damaged (its preprocessing was changed by hand)" in refused(copied)


def test_a_newer_version_says_so(copied):
    described(copied, version=2)
    assert "has version 2, this program reads up to 1; update it" in refused(copied)


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
    assert "model.pt does not fit" in refused(copied)


def test_weights_of_another_network(copied):
    described(copied, network={"name": "resnet18", "dropout": 0.0})
    assert "does not fit the network" in refused(copied)


@pytest.mark.parametrize("hashes", [True, False], ids=["hashes", "an earlier bundle"])
@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn"])
def test_missing_or_torn_weights(copied, content, hashes):
    if not hashes:
        described(copied, files_sha256={})
    (copied / "model.pt").unlink()
    if content is not None:
        (copied / "model.pt").write_bytes(content)
    torn = "model.pt is missing or cannot be read" if content is None else "model.pt is damaged"
    assert (torn if hashes else f"{copied / 'model.pt'} is not a state_dict") in refused(copied)
