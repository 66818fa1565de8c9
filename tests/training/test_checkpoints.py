"""Checkpoints: whole files only, the last two and the best kept, and whatever is not ours passed over or refused."""

from __future__ import annotations

import errno
import os
import random
import re

import pytest
import torch

from thorax.errors import ThoraxError
from thorax.training import checkpoints
from thorax.training.checkpoints import BEST, KEPT, Checkpoints

MINE = {"learning_rate": 0.1, "image_shape": [1, 32, 32], "split": "abc", "processes": 1}


@pytest.fixture
def lines():
    return []


@pytest.fixture
def kept(tmp_path, lines) -> Checkpoints:
    return Checkpoints(tmp_path, MINE, lines.append)


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def state(step: int) -> dict:
    return {
        "state": {"global_step": step, "history": [{"loss": 0.5}]},
        "model": {"w": torch.arange(6.0) * step},
        "random": torch.get_rng_state(),
    }


def test_nothing_to_resume(kept, lines):
    assert kept.load_latest() is None
    assert lines == []


def test_what_is_saved_is_loaded(kept):
    kept.save(3, state(3))
    got = kept.load_latest()
    assert got["state"] == {"global_step": 3, "history": [{"loss": 0.5}]}
    assert torch.equal(got["model"]["w"], torch.arange(6.0) * 3)
    assert torch.equal(got["random"], torch.get_rng_state())
    assert got["identity"] == MINE


def test_the_last_two_and_the_best_are_kept(kept, tmp_path):
    for step in (5, 10, 15, 20):
        kept.save(step, state(step))
        if step == 10:
            kept.save_best({"epoch": 1, "model": {"w": torch.ones(2)}})
    assert KEPT == 2
    assert names(tmp_path) == [BEST, "checkpoint-000000015.pt", "checkpoint-000000020.pt"]
    assert kept.load_latest()["state"]["global_step"] == 20
    assert kept.load_best()["epoch"] == 1


def test_newest_is_by_step_and_not_by_name_or_time(kept):
    kept.save(100000, state(100000))
    kept.save(99999, state(99999))
    assert kept.load_latest()["state"]["global_step"] == 100000


def test_saving_again_replaces(kept, tmp_path):
    kept.save(5, state(5))
    kept.save(5, state(6))
    assert names(tmp_path) == ["checkpoint-000000005.pt"]
    assert kept.load_latest()["state"]["global_step"] == 6


# --- torn, foreign and other files


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_torn_file_is_passed_over_with_a_line(kept, lines, tmp_path, share):
    kept.save(1, state(1))
    kept.save(2, state(2))
    newest = tmp_path / "checkpoint-000000002.pt"
    content = newest.read_bytes()
    newest.write_bytes(content[: int(len(content) * share)])
    assert kept.load_latest()["state"]["global_step"] == 1
    assert lines == [f"warning: {newest} is torn or not a checkpoint; trying the one before it"]


def test_a_flipped_bit_is_never_resumed(kept, lines, tmp_path):
    """Whichever bit of a checkpoint flips, what is loaded is what was saved, or the one before it."""
    kept.save(1, state(1))
    kept.save(2, state(2))
    newest = tmp_path / "checkpoint-000000002.pt"
    content = newest.read_bytes()
    passed_over = 0
    for position in random.Random(0).sample(range(len(content)), 300):
        newest.write_bytes(content[:position] + bytes([content[position] ^ 64]) + content[position + 1 :])
        lines.clear()
        got = kept.load_latest()
        step = got["state"]["global_step"]
        assert torch.equal(got["model"]["w"], torch.arange(6.0) * step)
        assert torch.equal(got["random"], torch.get_rng_state())
        assert len(lines) == (step == 1)
        assert step == 2 or str(newest) in lines[0]
        passed_over += step == 1
    assert passed_over > 200, "the rest are bytes of padding"


def test_a_run_of_zeros_in_the_tensors_is_told(kept, lines, tmp_path):
    kept.save(1, state(1))
    kept.save(2, {**state(2), "model": {"w": torch.full((5000,), 0.5)}})
    newest = tmp_path / "checkpoint-000000002.pt"
    content = newest.read_bytes()
    start = content.index(torch.full((5000,), 0.5).numpy().tobytes())
    newest.write_bytes(content[: start + 4096] + bytes(4096) + content[start + 8192 :])
    assert kept.load_latest()["state"]["global_step"] == 1
    assert re.search(r"its part \S+/data/\d+ has another checksum", lines[0])


def test_all_torn_is_a_new_start(kept, lines, tmp_path):
    for step in (1, 2):
        kept.save(step, state(step))
        (tmp_path / f"checkpoint-{step:09d}.pt").write_bytes(b"torn")
    assert kept.load_latest() is None
    assert len(lines) == 2


def test_torn_checkpoints_do_not_push_out_new_ones(kept, tmp_path):
    for step in (54, 55):
        kept.save(step, state(step))
        (tmp_path / f"checkpoint-{step:09d}.pt").write_bytes(b"torn")
    assert kept.load_latest() is None
    for step in (1, 2, 3, 54):
        kept.save(step, state(step))
    assert sorted(file.name for file in tmp_path.glob("checkpoint-*.pt")) == [
        f"checkpoint-{step:09d}.pt" for step in (3, 54, 55)
    ]
    assert kept.load_latest()["state"]["global_step"] == 54


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"model": {}}, "is a foreign file, not a checkpoint of this program"),
        ({"format": "lightning", "version": 1}, "is a foreign file, not a checkpoint of this program"),
        (torch.zeros(3), "is a foreign file, not a checkpoint of this program"),
        ({"format": checkpoints.FORMAT, "version": 99}, "has version 99, this program reads 2"),
        ({"format": checkpoints.FORMAT}, "has version None, this program reads 2"),
        (
            {"format": checkpoints.FORMAT, "version": checkpoints.VERSION, "model": {}},
            "is a foreign file, not a checkpoint of this program",
        ),
    ],
)
def test_foreign_and_other_versions_are_passed_over_with_a_line(kept, lines, tmp_path, content, reason):
    kept.save(1, state(1))
    torch.save(content, tmp_path / "checkpoint-000000002.pt")
    assert kept.load_latest()["state"]["global_step"] == 1
    assert lines == [f"warning: {tmp_path / 'checkpoint-000000002.pt'} {reason}; trying the one before it"]


def test_other_names_are_no_checkpoints(kept, lines, tmp_path):
    for name in (
        "checkpoint-5.pt",
        "checkpoint-000000009.pt.bak",
        "model.pt",
        ".checkpoint-000000009.pt.partial",
        "checkpoint-last.pt",
    ):
        (tmp_path / name).write_bytes(b"x")
    assert kept.load_latest() is None
    assert lines == []
    kept.save(1, state(1))
    assert kept.load_latest()["state"]["global_step"] == 1
    assert (tmp_path / "checkpoint-last.pt").exists()


def test_nothing_is_unpickled(kept, tmp_path, lines):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harmed"), "w"))

    torch.save(
        {"format": checkpoints.FORMAT, "version": 1, "identity": MINE, "x": Harm()},
        tmp_path / "checkpoint-000000002.pt",
    )
    assert kept.load_latest() is None
    assert len(lines) == 1
    assert not (tmp_path / "harmed").exists()


# --- another run


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"learning_rate": 0.5}, "learning_rate=0.5 there, 0.1 here"),
        ({"image_shape": [1, 64, 64]}, r"image_shape=\[1, 64, 64\] there, \[1, 32, 32\] here"),
        ({"split": "xyz", "processes": 2}, "split=xyz there, abc here; processes=2 there, 1 here"),
        ({"newer_option": 7}, "newer_option=7 there, None here"),
    ],
)
def test_another_configuration_is_refused_with_both_values(kept, tmp_path, change, text):
    Checkpoints(tmp_path, {**MINE, **change}, print).save(4, state(4))
    with pytest.raises(
        ThoraxError,
        match=(
            rf"checkpoint-000000004\.pt is from another run \({text}\); choose another job name or --checkpoint-dir, or"
            r" remove it"
        ),
    ):
        kept.load_latest()


def test_many_differences_are_counted(tmp_path):
    Checkpoints(tmp_path, {f"k{n}": 1 for n in range(5)}, print).save(4, state(4))
    with pytest.raises(ThoraxError, match="k2=1 there, 2 here; and 2 more"):
        Checkpoints(tmp_path, {f"k{n}": 2 for n in range(5)}, print).load_latest()


# --- whole or not at all


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EROFS, "make its folder writable")],
)
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failed_save_leaves_what_was_there(kept, tmp_path, monkeypatch, number, advice, where):
    kept.save(1, state(1))
    kept.save(2, state(2))

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, where, fail)
        with pytest.raises(
            ThoraxError, match=rf"checkpoint cannot be saved in {tmp_path}/[^ ]*: {os.strerror(number)}; {advice}"
        ):
            kept.save(3, state(3))
    assert names(tmp_path) == ["checkpoint-000000001.pt", "checkpoint-000000002.pt"]
    assert kept.load_latest()["state"]["global_step"] == 2


def test_the_disk_has_it_before_the_name_has(kept, tmp_path, monkeypatch):
    """Write, fsync, rename, in this order: a name never points to half a file."""
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    kept.save(1, state(1))
    assert calls == ["fsync", "replace", "fsync"]
    assert names(tmp_path) == ["checkpoint-000000001.pt"]


def test_what_a_killed_run_left_half_written_is_cleared(kept, tmp_path):
    (tmp_path / ".checkpoint-000000007.pt.partial").write_bytes(b"half")
    kept.save(8, state(8))
    assert names(tmp_path) == ["checkpoint-000000008.pt"]


def test_a_missing_folder(tmp_path):
    with pytest.raises(ThoraxError, match=r"checkpoint cannot be saved in .*gone/[^ ]*: No such file or directory"):
        Checkpoints(tmp_path / "gone", MINE, print).save(1, state(1))


def test_best_weights_that_are_damaged_or_gone(kept, tmp_path):
    with pytest.raises(ThoraxError, match=r"best\.pt does not exist; remove the folder's files and train again"):
        kept.load_best()
    (tmp_path / BEST).write_bytes(b"torn")
    with pytest.raises(ThoraxError, match=r"best\.pt is torn or not a checkpoint"):
        kept.load_best()
