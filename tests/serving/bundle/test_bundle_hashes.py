"""Bytes of a bundle that changed since it was written are noticed: at a load, by `thorax verify`, by a signature."""

from __future__ import annotations

import json
import random
import shutil
import tarfile

import numpy as np
import pytest

from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax_launch import cli
from written_bundles import refused

KEY = "k" * 40


@pytest.fixture
def own(bundle, tmp_path):
    """A whole bundle of one's own."""
    return shutil.copytree(bundle, tmp_path / "model")


@pytest.fixture
def key_file(tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    return tmp_path / "key"


def flipped(file, position: int, bit: int = 64) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= bit
    file.write_bytes(content)


def verify(*words) -> int:
    return cli.main(["verify", *map(str, words)])


def test_a_new_bundle_is_as_written(own, capsys):
    assert verify(own) == 0
    out = capsys.readouterr().out
    assert f"{own}: " in out
    assert f"as written; weights {Bundle.load(own).version}" in out
    listed = json.loads((own / "bundle.json").read_text())["files_sha256"]
    assert {"model.safetensors", "split.csv", "config.yaml", "code/inference.py", "code/thorax/__init__.py"} <= set(
        listed
    )


@pytest.mark.parametrize("seed", range(6))
def test_one_flipped_bit_of_the_weights_is_not_served(own, seed):
    file = own / "model.safetensors"
    flipped(file, random.Random(seed).randrange(file.stat().st_size), 1 << seed)
    assert "model.safetensors is damaged: its sha256 is " in refused(own)
    with pytest.raises(ThoraxError, match=r"model\.safetensors is damaged"):
        Bundle.load(own).build_network()


def test_a_hole_of_zeros_is_not_served(own):
    content = (own / "model.safetensors").read_bytes()
    middle = len(content) // 2
    (own / "model.safetensors").write_bytes(content[:middle] + bytes(4096) + content[middle + 4096 :])
    assert "model.safetensors is damaged" in refused(own)


def test_the_split_table_too(own):
    (own / "split.csv").write_text("id,patient,part\nf0,p0,test\n")
    assert "split.csv is damaged" in refused(own)


def test_a_description_that_was_edited_says_what_accepts_it(own, capsys):
    text = (own / "bundle.json").read_text()
    (own / "bundle.json").write_text(text.replace('"PNEUMONIA": 0.4', '"PNEUMONIA": 0.7'))
    assert text != (own / "bundle.json").read_text()
    assert "changed by hand (then `thorax verify --seal` accepts it) or damaged" in refused(own)
    assert verify(own, "--seal") == 0
    assert "as they are now" in capsys.readouterr().out
    assert Bundle.load(own).thresholds == {"PNEUMONIA": 0.7}


def test_each_byte_of_a_description_counts(own):
    """Whichever character changes, the bundle is refused, or says the same."""
    before, content = Bundle.load(own).to_dict(), (own / "bundle.json").read_bytes()
    for position in random.Random(1).sample(range(len(content)), 150):
        (own / "bundle.json").write_bytes(content[:position] + b"7" + content[position + 1 :])
        told = ""
        try:
            found = Bundle.load(own).to_dict()
        except ThoraxError as error:
            told = str(error)
        assert "bundle.json" in told or found == before


def test_verify_names_every_difference(own, capsys):
    flipped(own / "model.safetensors", 1000)
    (own / "code/inference.py").write_text("raise SystemExit\n")
    (own / "code/thorax/labels.py").unlink()
    (own / "code/sitecustomize.py").write_text("")
    assert verify(own) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [
        "code/inference.py",
        "code/thorax/labels.py",
        "model.safetensors",
        "code/sitecustomize.py",
    ]
    assert "code/thorax/labels.py is missing or cannot be read" in out
    assert "code/sitecustomize.py was added since" in out
    assert "is not as it was written (4 differences)" in err


def test_an_archive_is_verified_as_a_folder_is(own, tmp_path, capsys):
    flipped(own / "model.safetensors", 1000)
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.add(own, ".")
    assert verify(tmp_path / "model.tar.gz") == 1
    assert "model.safetensors is damaged" in capsys.readouterr().out
    assert verify(tmp_path / "model.tar.gz", "--seal") == 1
    assert "is no folder" in capsys.readouterr().err


def test_an_earlier_bundle_says_that_it_has_none(own, capsys):
    stored = json.loads((own / "bundle.json").read_text())
    del stored["sha256"], stored["files_sha256"]
    (own / "bundle.json").write_text(json.dumps(stored))
    image = [np.zeros((32, 40), np.uint8)]
    assert Classifier.load(own).predict(image).shape == (1, 1)
    assert verify(own) == 0
    assert "no hashes" in capsys.readouterr().out
    assert verify(own, "--seal") == 0
    assert Bundle.load(own).files["model.safetensors"]


# --- signatures


def test_a_signed_bundle_is_known_by_its_key_and_by_no_other(own, key_file, tmp_path, capsys):
    assert verify(own, "--key-file", key_file) == 1
    assert "it is not signed: there is no bundle.json.hmac" in capsys.readouterr().out
    assert verify(own, "--sign", "--key-file", key_file) == 0
    assert verify(own, "--key-file", key_file) == 0
    (tmp_path / "other").write_text("o" * 32)
    capsys.readouterr()
    assert verify(own, "--key-file", tmp_path / "other") == 1
    assert "is of another key, or bundle.json was changed since it was signed" in capsys.readouterr().out


def test_sealing_anew_does_not_sign(own, key_file):
    verify(own, "--sign", "--key-file", key_file)
    (own / "code/inference.py").write_text("print(1)\n")
    assert verify(own, "--seal") == 0
    assert verify(own, "--key-file", key_file) == 1


def test_what_is_damaged_is_not_signed(own, key_file):
    flipped(own / "model.safetensors", 1000)
    assert verify(own, "--sign", "--key-file", key_file) == 1
    assert not (own / "bundle.json.hmac").exists()


def test_a_server_with_a_key_serves_signed_bundles_alone(own, key_file, monkeypatch):
    monkeypatch.setenv("THORAX_BUNDLE_KEY", KEY)
    assert "asks for its signature: it is not signed" in refused(own)
    verify(own, "--sign", "--key-file", key_file)
    assert Classifier.load(own).labels == ("PNEUMONIA",)
    (own / "code/thorax/extra.py").write_text("")
    assert "code/thorax/extra.py was added since" in refused(own)
    monkeypatch.setenv("THORAX_BUNDLE_KEY", "short")
    assert "THORAX_BUNDLE_KEY has 5 bytes, and needs 32" in refused(own)


@pytest.mark.parametrize("content", [None, b"short", b"  \n"])
def test_keys_that_are_no_secret(own, tmp_path, content, capsys):
    if content is not None:
        (tmp_path / "bad").write_bytes(content)
    assert verify(own, "--key-file", tmp_path / "bad") == 1
    assert f"the key {tmp_path / 'bad'} " in capsys.readouterr().err
    assert verify(own, "--sign") == 1
    assert "--sign needs --key-file" in capsys.readouterr().err


def test_a_signature_that_is_no_text(own, key_file, capsys):
    (own / "bundle.json.hmac").write_bytes(b"\xff\xfe")
    assert verify(own, "--key-file", key_file) == 1
    assert "bundle.json.hmac cannot be read" in capsys.readouterr().out
