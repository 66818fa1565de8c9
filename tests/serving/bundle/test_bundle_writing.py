"""A bundle is written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from thorax.errors import ThoraxError
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_writer import check_folder
from written_bundles import ROOT, network, write


def test_a_full_disk_leaves_no_bundle(tmp_path, monkeypatch, small):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ThoraxError, match=r"bundle cannot be saved in .*No space left on device.*free some space"):
        write(tmp_path / "model", small)
    assert list((tmp_path / "model").iterdir()) == []


def test_a_failed_save_leaves_the_bundle_before_it(tmp_path, monkeypatch, small):
    write(tmp_path / "model", small)
    before = {p: p.read_bytes() for p in (tmp_path / "model").rglob("*") if p.is_file()}

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(ThoraxError, match=r"the bundle cannot be saved in .*Input/output error"):
        write(tmp_path / "model", torch.nn.Linear(3, 1))
    assert {p: p.read_bytes() for p in (tmp_path / "model").rglob("*") if p.is_file()} == before


def test_what_is_in_the_way_leaves_no_description(tmp_path, small):
    (tmp_path / "model" / "model.safetensors").mkdir(parents=True)
    (tmp_path / "model" / "bundle.json").write_text("{}")
    with pytest.raises(ThoraxError, match="the bundle cannot be saved in"):
        write(tmp_path / "model", small)
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.safetensors"]


def test_a_model_directory_that_is_a_file(tmp_path, small):
    (tmp_path / "model").write_text("")
    with pytest.raises(ThoraxError, match="the bundle cannot be saved in"):
        write(tmp_path / "model", small)


def test_files_of_another_kind_are_not_overwritten(tmp_path, bundle):
    (tmp_path / "notes.txt").write_text("stay")
    check_folder(tmp_path)
    check_folder(bundle)
    check_folder(tmp_path / "not there yet")
    (tmp_path / "code").mkdir()
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(
        ThoraxError, match=r"--model-dir .* holds code, config\.yaml but is no bundle, and they would be overwritten"
    ):
        check_folder(tmp_path)
    (tmp_path / ".partial").mkdir()  # a run was killed while it saved: they are its own
    check_folder(tmp_path)


def test_a_bundle_is_replaced_and_leftovers_are_cleared(tmp_path, small):
    write(tmp_path / "model", small)
    (tmp_path / "model" / "code" / "stale.py").touch()
    (tmp_path / "model" / ".partial" / "code").mkdir(parents=True)
    write(tmp_path / "model", small, thresholds={"PNEUMONIA": 0.7})
    assert Bundle.load(tmp_path / "model").thresholds == {"PNEUMONIA": 0.7}
    assert not (tmp_path / "model" / "code" / "stale.py").exists()
    assert not (tmp_path / "model" / ".partial").exists()


class Tied(torch.nn.Module):
    """Two names for one tensor, a tensor that is a view of another one, and one whose numbers do not lie in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Linear(4, 4)
        self.two = torch.nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.brain = torch.nn.Parameter(torch.arange(6).reshape(2, 3).bfloat16().t())
        whole = torch.arange(10.0)
        self.register_buffer("start", whole[:4])
        self.register_buffer("end", whole[2:].half())
        self.register_buffer("view", whole[1:5])


def test_tied_and_strided_tensors_and_other_types_are_as_they_were(tmp_path):
    net = Tied()
    write(tmp_path / "model", net)
    stored = load_file(tmp_path / "model/model.safetensors")
    assert stored.keys() == net.state_dict().keys()
    for name, value in net.state_dict().items():
        assert stored[name].dtype == value.dtype and torch.equal(stored[name], value)


def test_the_same_weights_are_the_same_bytes(tmp_path, small):
    for name in ("one", "two"):
        write(tmp_path / name, small)
    assert Bundle.load(tmp_path / "one").version == Bundle.load(tmp_path / "two").version


def test_without_the_package_a_bundle_is_read_all_the_same(tmp_path):
    """AWS's serving images do not have it, and an endpoint installs nothing."""
    write(tmp_path / "model", network(1))
    code = "import sys; sys.modules['safetensors'] = None; from thorax.serving.bundle import Bundle; import torch\n"
    code += "print(Bundle.load(sys.argv[1]).build_network()(torch.zeros(1, 1, 32, 40)).shape)"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "model"], capture_output=True, text=True, cwd=ROOT / "source_dir"
    )
    assert done.stdout.strip() == "torch.Size([1, 1])", done.stderr
