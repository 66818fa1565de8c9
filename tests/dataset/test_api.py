"""thorax.dataset from Python and as `python -m thorax.dataset`: the same functions, results and exit codes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import images
from conftest import ROOT, clean_environment
from preparing import contents, run, sixteen_images
from thorax import dataset
from thorax.dataset.__main__ import main
from thorax.errors import ThoraxError


@pytest.fixture(scope="module")
def channel(tmp_path_factory):
    return sixteen_images(tmp_path_factory.mktemp("channel"))


def test_check_returns_findings_with_their_images(channel, tmp_path):
    assert dataset.check(channel).errors == []
    copy = images.put(tmp_path / "test" / "NORMAL" / "person9_1.jpeg", (channel / "NORMAL/person0_0.jpeg").read_bytes())
    images.put(tmp_path / "test" / "PNEUMONIA" / "person10_2.png", seed=99)
    report = dataset.check({"train": channel, "test": tmp_path / "test"})
    (error,) = report.errors
    assert (error.level, error.check) == ("error", "duplicate-across-parts")
    assert [[report.images.place(k) for k in group] for group in error.images] == [
        ["train: NORMAL/person0_0.jpeg", f"test: NORMAL/{copy.name}"]
    ]
    assert {finding.level for finding in report.warnings} == {"warning"}


def test_stats_split_and_lists(channel, tmp_path):
    found = dataset.stats(channel)
    pixels = np.concatenate([images.grey(60, 48 + n, seed=n).ravel() for n in range(16) if n % 3])
    assert abs(found.mean - pixels.mean() / 255) < 0.02 and found.problems == []
    listing = dataset.read_images(channel)
    parts = dataset.split(listing, validation=0.25, test=0.25, seed=3)
    assert [part.part for part in parts] == ["train", "validation", "test"]
    assert sorted(name for part in parts for name in part.ids) == sorted(listing.ids)
    assert dataset.write_lists(listing, channel, tmp_path / "x") == {tmp_path / "x.lst": 16}


def test_pack_says_what_it_does_and_verify_agrees(channel, tmp_path):
    lines = []
    dataset.pack(dataset.read_images(channel), tmp_path / "out", dataset.PackOptions(shard_images=9), say=lines.append)
    assert lines[0].startswith(f"packed 16 images into 2 shards in {tmp_path / 'out'}")
    dataset.verify(tmp_path / "out", say=lines.append)
    assert lines[-1] == f"{tmp_path / 'out'}: 3 files are as written, 16 images can be decoded"
    assert run("pack", channel, tmp_path / "again", "--shard-images", 9, "--processes", 1) == 0
    written, again = contents(tmp_path / "out"), contents(tmp_path / "again")
    assert {k: v for k, v in written.items() if "plan" not in k} == {k: v for k, v in again.items() if "plan" not in k}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module thorax\.dataset has no attribute chekc"):
        _ = dataset.chekc
    with pytest.raises(ThoraxError, match="--data-format x is not known"):
        dataset.read_inventory(ROOT, "x")


def test_the_module_is_a_command_without_upload(channel, tmp_path, capsys):
    assert main(["list", str(channel), "--out", str(tmp_path / "x")]) == 0
    assert "x.lst: 16 images" in capsys.readouterr().out
    assert main(["list", str(tmp_path / "nowhere"), "--out", str(tmp_path / "y")]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().err
    code = "import runpy, sys\nsys.argv = ['dataset', '--help']\n"
    code += "try: runpy.run_module('thorax.dataset', run_name='__main__')\n"
    code += "except SystemExit as end: assert end.code == 0 and not {'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "source_dir", capture_output=True, text=True, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
    assert "    check " in done.stdout and "upload" not in done.stdout
