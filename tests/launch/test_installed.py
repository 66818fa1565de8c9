"""`pip install .` outside the checkout: the wheel holds what the commands need; a missing package names its extra."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import images
from conftest import ROOT, TINY, clean_environment
from thorax_launch.extras import EXTRAS
from thorax_launch.paths import source_dir
from thorax_launch.sagemaker.package import tarball


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel of this checkout is installed, and nothing else."""
    root = tmp_path_factory.mktemp("wheel")
    tree = root / "tree"
    caches = shutil.ignore_patterns("__pycache__", "build")
    for name in ("source_dir", "launch"):
        shutil.copytree(ROOT / name, tree / name, ignore=caches)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    new = int(importlib.metadata.version("setuptools").partition(".")[0]) >= 77
    isolation = ["--no-build-isolation"] if new else []
    subprocess.run([*pip, "wheel", "--no-deps", *isolation, "-w", root / "dist", tree], check=True, timeout=250)
    (wheel,) = (root / "dist").iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", root / "site", wheel], check=True, timeout=100)
    return root / "site"


def thorax(installed: Path, *words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed command `thorax` with these arguments, to its end."""
    environment = clean_environment(PYTHONPATH=str(installed), AWS_EC2_METADATA_DISABLED="true")
    command = [sys.executable, str(installed / "bin" / "thorax"), *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=280, env=environment)


def python(installed: Path, code: str, cwd: Path) -> str:
    """What the code prints, with the installed packages."""
    environment = clean_environment(PYTHONPATH=str(installed))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=100, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_is_what_runs(installed: Path, tmp_path: Path) -> None:
    code = "import thorax, thorax_launch; print(thorax.__file__, thorax_launch.__file__)"
    assert python(installed, code, tmp_path).split() == [
        str(installed / name / "__init__.py") for name in ("thorax", "thorax_launch")
    ]
    assert all((installed / name / "py.typed").is_file() for name in ("thorax", "thorax_launch"))
    assert sorted(path.name for path in installed.iterdir() if path.suffix != ".dist-info") == [
        "bin",
        "thorax",
        "thorax_launch",
    ]
    data, launch = installed / "thorax_launch" / "_data", ROOT / "launch"
    folders = (file for name in ("recipes", "locks", "web") for file in (launch / name).glob("*.*"))
    wanted = [launch / "prices.example.yaml", *folders]
    assert {path.relative_to(data) for path in data.rglob("*.*") if path.suffix != ".pyc"} == {
        path.relative_to(launch) for path in wanted
    }
    done = thorax(installed, "--help", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "usage: thorax COMMAND ...")


def test_the_code_that_travels_is_the_same_to_the_byte(installed: Path, tmp_path: Path) -> None:
    code = """
import hashlib
from thorax_launch.paths import source_dir
from thorax_launch.sagemaker.package import tarball
print(source_dir())
print(hashlib.sha256(tarball(source_dir())).hexdigest())
"""
    folder, digest = python(installed, code, tmp_path).splitlines()
    assert digest == hashlib.sha256(tarball(source_dir())).hexdigest()
    assert not Path(folder).exists()  # it went with its process


@pytest.mark.slow
def test_predict_and_dry_run(installed: Path, bundle: Path, tmp_path: Path) -> None:
    images.put(tmp_path / "a.png", seed=1)
    done = thorax(installed, "predict", bundle, "a.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == ["PNEUMONIA"]
    done = thorax(
        installed,
        "train",
        "demo",
        "--train",
        "s3://images/train",
        "--region",
        "eu-central-1",
        "--dry-run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert "usage: thorax train " in thorax(installed, "train", "--help", cwd=tmp_path).stdout
    assert "\n    thorax train demo --local" in thorax(installed, "train", "--help", cwd=tmp_path).stdout


@pytest.mark.slow
def test_train_and_deploy(installed: Path, images: Path, tmp_path: Path) -> None:
    words = [word for key, value in TINY.items() for word in ("--set", f"{key}={value}")]
    channels = ["--train", images / "train", "--test", images / "test"]
    done = thorax(installed, "train", "demo", "--local", "--job-name", "it", *channels, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    bundle = tmp_path / "runs" / "it" / "model"
    assert (bundle / "code" / "inference.py").is_file()
    assert not (bundle / "code" / "thorax" / "_source").exists()
    command = [sys.executable, str(installed / "bin" / "thorax"), "deploy", "--local", str(bundle), "--port", "0"]
    environment = clean_environment(PYTHONPATH=str(installed))
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout
    try:
        address = next((found for line in server.stdout if (found := re.search(r"http://\S+", line))), None)
        assert address
        (image, *_) = sorted((images / "test").rglob("*.png"))
        done = thorax(installed, "predict", address[0], image, cwd=tmp_path)
        assert (done.returncode, image.name in done.stdout) == (0, True), done.stderr
        done = thorax(installed, "batch", "--local", bundle, "--data", images / "test", "--out", "a.csv", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


# -- With the base packages alone --------------------------------------------------------------------------------------

WITHOUT_EXTRAS = f"""
import sys
from importlib.machinery import PathFinder
MISSING = {sorted(module for modules in EXTRAS.values() for module in modules)}
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in MISSING else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
sys.argv[0] = "thorax"
from thorax_launch.cli import main
sys.exit(main())
"""


def without_extras(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / name) for name in ("source_dir", "launch"))
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *map(str, words)]
    environment = clean_environment(PYTHONPATH=path)
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, env=environment)


def test_the_base_packages_answer_about_an_image(bundle: Path, tmp_path: Path) -> None:
    images.put(tmp_path / "a.png", seed=1)
    done = without_extras("predict", bundle, "a.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "PNEUMONIA (threshold 0.500)" in done.stdout


@pytest.mark.parametrize(
    ("words", "module", "extra"),
    [
        (["deploy", "--local", "BUNDLE", "--port", "0"], "starlette", "serve"),
        (["leaderboard", "it", "--local"], "optuna", "tune"),
        (["predict", "chest", "a.png"], "boto3", "aws"),
        (["evaluate", "BUNDLE", "--data", "images"], "jinja2", "train"),
    ],
)
def test_a_missing_package_is_one_line(words: list[str], module: str, extra: str, bundle: Path, tmp_path: Path) -> None:
    images.put(tmp_path / "a.png", seed=1)
    images.folders(tmp_path / "images", NORMAL=["a.png"], PNEUMONIA=["b.png"])
    (tmp_path / "runs" / "it").mkdir(parents=True)
    (tmp_path / "runs" / "it" / "study.db").touch()
    done = without_extras(*(str(bundle) if word == "BUNDLE" else word for word in words), cwd=tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: {module} is not installed, and this needs it; run: pip install 'thorax-sagemaker[{extra}]'\n"
    )
