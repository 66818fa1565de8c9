"""A bundle is compared with its hashes, and its signature, before anything is sent: here, packed, and in S3."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from thorax.serving import bundle_signature
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_verify import seal_of
from thorax_launch.cli import batch, deploy
from thorax_launch.sagemaker.package import packed, source_files

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--bucket", "films", "--role", ROLE, "--region", "eu-central-1"]
KEY, ADDRESS = "thorax/one/output/model.tar.gz", "s3://films/thorax/one/output/model.tar.gz"
SECRET = "k" * 32
Capture = pytest.CaptureFixture[str]
#: Calls that make, change or send something.
CHANGES = ("Create", "Put", "Update", "Upload", "Register")


def with_other_bytes(light: Path, name: str, tmp_path: Path) -> Path:
    """A copy of the bundle in which a bit of that file is turned."""
    folder = tmp_path / "changed"
    shutil.copytree(light, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    return folder


def refused(capsys: Capture, command: Any, *words: str) -> str:
    capsys.readouterr()
    assert command.main([*words, *PLACE]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ")
    return error


COMMANDS = [
    (deploy, ["--endpoint-name", "chest", "--yes"]),
    (deploy, ["--endpoint-name", "chest", "--register", "chest", "--dry-run"]),
    (batch, ["--data", "s3://films/thorax/test", "--out", "t.csv", "--dry-run"]),
]


@pytest.mark.parametrize(("command", "words"), COMMANDS)
@pytest.mark.parametrize("name", ["model.safetensors", "code/inference.py", "bundle.json"])
@pytest.mark.parametrize("form", ["folder", "archive"])
def test_a_changed_bundle_is_not_sent(
    command: Any, words: list[str], name: str, form: str, light: Path, tmp_path: Path, offline: Path, capsys: Capture
) -> None:
    place = with_other_bytes(light, name, tmp_path)
    if form == "archive":
        content = packed(source_files(place), level=1)
        place = tmp_path / "model.tar.gz"
        place.write_bytes(content)
    error = refused(capsys, command, str(place), *words)
    assert str(place) in error and "damaged" in error


def a_bit(archive: bytes, at: int) -> bytes:
    """The archive with a bit turned."""
    return archive[:at] + bytes([archive[at] ^ 16]) + archive[at + 1 :]


@pytest.mark.parametrize("damage", ["changed", "cut", "bit", "stream", "text", "none"])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (deploy, ["ADDRESS", "--endpoint-name", "chest", "--register", "chest", "--yes"]),
        (deploy, ["--variant", "a=ADDRESS", "--variant", "b=ADDRESS", "--endpoint-name", "chest", "--yes"]),
        (deploy, ["BUNDLE", "--shadow", "ADDRESS", "--endpoint-name", "chest", "--yes"]),
        (deploy, ["a=ADDRESS", "b=BUNDLE", "--image", "torchserve", "--endpoint-name", "chest", "--yes"]),
        (batch, ["ADDRESS", "--data", "s3://films/thorax/test", "--out", "t.csv", "--yes"]),
    ],
)
def test_a_damaged_bundle_in_s3_makes_nothing(
    damage: str, command: Any, words: list[str], aws: Any, archive: bytes, light: Path, tmp_path: Path, capsys: Capture
) -> None:
    content = {
        "changed": lambda: packed(source_files(with_other_bytes(light, "model.safetensors", tmp_path)), level=1),
        "cut": lambda: archive[: len(archive) // 2],
        "bit": lambda: a_bit(archive, len(archive) // 3),
        "stream": lambda: gzip.compress(gzip.decompress(archive)[: -(10 * 2**10) - 700]),
        "text": lambda: b"not an archive",
        "none": lambda: None,
    }[damage]()
    if content is not None:
        aws.client("s3").put_object(Bucket="films", Key=KEY, Body=content)
    aws.calls.clear()
    given = [word.replace("ADDRESS", ADDRESS).replace("BUNDLE", str(light)) for word in words]
    error = refused(capsys, command, *given)
    assert ADDRESS in error and "/tmp" not in error
    assert not [name for name in aws.operations if name.startswith(CHANGES)]


def test_a_key_asks_for_a_signature(
    light: Path, tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder, words = tmp_path / "model", ["--endpoint-name", "chest", "--dry-run"]
    shutil.copytree(light, folder)
    monkeypatch.setenv("THORAX_BUNDLE_KEY", SECRET)
    assert "it is not signed" in refused(capsys, deploy, str(folder), *words)
    bundle_signature.sign(folder, SECRET.encode())
    assert deploy.main([str(folder), *words, *PLACE]) == 0
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    bundle_signature.sign(folder, b"another" * 8)
    assert "is of another key" in refused(capsys, deploy, str(folder), *words)
    monkeypatch.setenv("THORAX_BUNDLE_KEY", "short")
    assert "THORAX_BUNDLE_KEY has 5 bytes, and needs 32" in refused(capsys, deploy, str(folder), *words)


def test_the_hash_is_shown_tagged_and_registered(light: Path, offline: Path, capsys: Capture) -> None:
    wanted = seal_of(Bundle.load(light))
    assert len(wanted) == 64
    words = [str(light), "--endpoint-name", "chest", "--register", "chest", "--dry-run", "--json", *PLACE]
    assert deploy.main(words) == 0
    shown = capsys.readouterr()
    assert f"sha256:   {wanted}" in shown.out + shown.err
    calls = json.loads(shown.out[shown.out.index("{") :])
    for call in ("CreateModel", "CreateEndpointConfig", "CreateEndpoint"):
        assert {"Key": "bundle_sha256", "Value": wanted} in calls[call]["Tags"]
    assert calls["CreateModelPackage"]["CustomerMetadataProperties"] == {"bundle_sha256": wanted}


def test_of_variants_and_a_shadow_each_model_has_its_own(
    light: Path, tmp_path: Path, offline: Path, capsys: Capture
) -> None:
    other = tmp_path / "other"
    shutil.copytree(light, other)
    (other / "model.safetensors").write_bytes(b"other weights")
    from thorax.serving import bundle_verify

    bundle_verify.seal(other)
    hashes = [seal_of(Bundle.load(place)) for place in (light, other)]
    for words in (["--variant", f"a={light}", "--variant", f"b={other}"], [str(light), "--shadow", str(other)]):
        assert deploy.main([*words, "--endpoint-name", "chest", "--dry-run", "--json", *PLACE]) == 0
        shown = capsys.readouterr()
        text = shown.out + shown.err
        assert [f"sha256:   {one}" in text for one in hashes] == [True, True]
        models = json.loads(shown.out[shown.out.index("{") :])["CreateModel"]
        found = [tag["Value"] for model in models for tag in model["Tags"] if tag["Key"] == "bundle_sha256"]
        assert found == hashes


def test_a_dry_run_says_what_it_cannot_know(offline: Path, capsys: Capture) -> None:
    assert deploy.main([ADDRESS, "--endpoint-name", "chest", "--dry-run", *PLACE]) == 0
    shown = capsys.readouterr()
    assert "sha256:   unknown; the bundle is in S3, where it is fetched and checked" in shown.out + shown.err


def test_an_old_bundle_is_sent_and_said_to_have_no_hashes(
    light: Path, tmp_path: Path, offline: Path, capsys: Capture
) -> None:
    old = tmp_path / "old"
    shutil.copytree(light, old)
    described = json.loads((old / "bundle.json").read_text())
    (old / "bundle.json").write_text(
        json.dumps({k: v for k, v in described.items() if k not in ("sha256", "files_sha256")})
    )
    assert deploy.main([str(old), "--endpoint-name", "chest", "--dry-run", *PLACE]) == 0
    shown = capsys.readouterr()
    assert "sha256:   none; the bundle is of an earlier version" in shown.out + shown.err
