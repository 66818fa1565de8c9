"""Lock files of what jobs install: whole, in step with the bounds, and taken by pip."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from conftest import ROOT
from thorax.errors import ThoraxError
from thorax_launch import locks
from thorax_launch.cli import pipeline, train
from thorax_launch.job_requirements import OPTIONAL
from thorax_launch.sagemaker.jobs import plan_training
from thorax_launch.settings import AwsSettings

ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
SETTINGS = AwsSettings(region="eu-central-1", role=ROLE, bucket="films")
WORDS = ["demo", "--train", "s3://films/train", "--region", "eu-central-1", "--bucket", "films", "--role", ROLE]
REQUIREMENTS = (ROOT / "source_dir/requirements.txt").read_text()
Capture = pytest.CaptureFixture[str]


def stored(python: str) -> str:
    return locks.file_of(python).read_text()


@pytest.mark.parametrize("python", locks.IMAGES)
def test_a_lock_file_is_in_step_with_the_bounds(python: str) -> None:
    """It is due anew after another bound in requirements.txt, pyproject.toml or job_requirements.py."""
    found = locks.parse(stored(python))
    for line in [*filter(locks.package_of, REQUIREMENTS.splitlines()), *OPTIONAL.values()]:
        wanted = Requirement(line)
        version = found[locks.package_of(line)].pin.split("==")[1].split()[0]
        assert wanted.specifier.contains(version, prereleases=True), f"{version} is not {line}: make locks"
    assert not {"torch", "torchvision", "triton"} & set(found)
    assert not [name for name in found if name.startswith("nvidia-") and name != "nvidia-ml-py"]


@pytest.mark.parametrize("python", locks.IMAGES)
def test_a_lock_file_is_pins_and_hashes_alone(python: str) -> None:
    text = stored(python)
    assert f"# Python {python} " in text.splitlines()[0]
    assert not re.search(r"://|^-|@", text, re.MULTILINE)  # no address of an index, no option, no file
    parser = pytest.importorskip("pip_requirements_parser", reason="comes with pip-audit, in the extra dev")
    read = parser.RequirementsFile.from_file(str(locks.file_of(python)))
    assert not read.invalid_lines
    assert all(one.is_pinned and one.hash_options for one in read.requirements)
    assert {locks.package_of(one.name) for one in read.requirements} == set(locks.parse(text))


def requirements(hyperparameters: dict[str, str], **options: object) -> str:
    plan = plan_training("demo", {"train": "s3://films/train"}, hyperparameters, options, SETTINGS)
    with tarfile.open(fileobj=io.BytesIO(plan.uploads[0].content)) as tar:  # type: ignore[arg-type]
        file = tar.extractfile("requirements.txt")
        assert file is not None
        return file.read().decode()


def test_a_locked_job_installs_by_hash_what_it_needs_and_no_more() -> None:
    plain, watched = requirements({}, locked=True), requirements({"wandb_tracking": "offline"}, locked=True)
    assert plain.startswith("--require-hashes\n")
    names, more = (set(locks.parse(text.partition("\n")[2])) for text in (plain, watched))
    assert set(locks.roots(REQUIREMENTS)) < names and "wandb" not in names and "torch" not in names
    assert "wandb" in more and names < more
    assert requirements({}).splitlines()[2:] == REQUIREMENTS.splitlines()[2:]


def test_where_a_lock_does_not_fit(offline_words: list[str], capsys: Capture) -> None:
    assert train.main([*offline_words, "--training-image", "123456789012.dkr.ecr.x.amazonaws.com/a:1"]) == 1
    assert "--locked is for AWS's image" in capsys.readouterr().err
    assert pipeline.main([*offline_words, "--test", "s3://films/test", "--group", "chest"]) == 1
    assert "--locked: the steps that check and evaluate install more" in capsys.readouterr().err


@pytest.fixture
def offline_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return [*WORDS, "--locked", "--dry-run"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a==1\n", "a has no hash"),
        ("a>=1\n", "line 1 of a lock file is no pin: a>=1"),
        ("--index-url https://x\n", "line 1 of a lock file is no pin"),
        ("a==1 \\\n    --hash=md5:00\n", "line 2 of a lock file is no pin"),
    ],
)
def test_what_is_no_lock_file(text: str, line: str) -> None:
    with pytest.raises(ThoraxError, match=re.escape(line)):
        locks.parse(text)


def test_a_package_that_is_not_locked() -> None:
    with pytest.raises(ThoraxError, match="nowhere is not in the lock file; write it anew: make locks"):
        locks.locked("nowhere>=1\n", "3.13")
    with pytest.raises(ThoraxError, match=r"py39.txt cannot be read"):
        locks.locked("tqdm\n", "3.9")


def wheel(folder: Path, needs: str) -> Path:
    """A package `alpha` that needs another."""
    file = folder / "alpha-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("alpha.py", "")
        about = f"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\nRequires-Dist: {needs}\n"
        archive.writestr("alpha-1.0.dist-info/METADATA", about)
        archive.writestr("alpha-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("alpha-1.0.dist-info/RECORD", "")
    return file


def test_pip_takes_what_the_image_holds_without_a_hash_and_nothing_else(tmp_path: Path) -> None:
    """torch is installed already, as in AWS's image; a file of other bytes is refused."""
    file = wheel(tmp_path, "torch")
    one = locks.Locked("alpha==1.0", (f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}",), ())
    asked = tmp_path / "requirements.txt"
    asked.write_text("--require-hashes\n" + one.text())
    words = [sys.executable, "-m", "pip", "install", "--dry-run", "--isolated", "--no-index", "--quiet"]
    words += ["--disable-pip-version-check", "--find-links", str(tmp_path), "-r", str(asked)]
    assert subprocess.run(words, capture_output=True, check=False).returncode == 0
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("beta.py", "")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "DO NOT MATCH THE HASHES" in done.stderr
