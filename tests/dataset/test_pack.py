"""prepare.py pack: shards and RecordIO, whole, resumable, and the same bytes for any number of processes."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import images as xrays
from conftest import clean_environment
from preparing import SCRIPT, contents, refused, rows, run, sixteen_images
from thorax.data import recordio
from thorax.data.formats import read_channel
from thorax.data.formats.channel import ReadOptions
from thorax.data.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    return sixteen_images(tmp_path_factory.mktemp("channel"))


def test_packed_shards_are_the_channel_and_its_bytes_do_not_depend_on_the_processes(channel, tmp_path):
    for out, processes in (("one", 1), ("two", 2)):
        assert run("pack", channel, tmp_path / out, "--shard-images", 5, "--processes", processes) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    there, packed = read_channel("a", channel), read_channel("b", tmp_path / "one")
    assert (there.names, list(there.ids), list(there.patients)) == (
        packed.names,
        list(packed.ids),
        list(packed.patients),
    )
    np.testing.assert_array_equal(there.targets, packed.targets)
    for n in range(16):  # without --size the files are kept as they are
        assert packed.sources[n].read() == Path(there.sources[n]).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").glob("*.*")) == [
        ".SHA256SUMS.plan",
        "shard-000000.tar",
        "shard-000001.tar",
        "shard-000002.tar",
        "shard-000003.tar",
        "shards.npz",
    ]
    for line in (tmp_path / "one" / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "one" / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(("encode", "kind"), [("jpeg", "JPEG"), ("png", "PNG")])
def test_packed_images_have_the_wanted_short_side(channel, tmp_path, encode, kind):
    assert run("pack", channel, tmp_path / "out", "--size", 32, "--encode", encode, "--processes", 1) == 0
    packed = read_channel("b", tmp_path / "out")
    from io import BytesIO

    for n, source in enumerate(packed.sources):
        with Image.open(BytesIO(source.read())) as image:
            width = int(packed.ids[n].split("_")[1].split(".")[0]) + 48
            assert (min(image.size), image.mode, image.format) == (32, "L", kind)
            assert image.size[0] / image.size[1] == pytest.approx(width / 60, rel=0.03)


@pytest.mark.parametrize("encode", ["raw", "png"])
def test_stretched_images_are_packed_as_training_sees_them(channel, tmp_path, encode):
    """--size 32x24 without loss is image_shape=1,24,32 done ahead: not one grey level differs."""
    assert run("pack", channel, tmp_path / "out", "--size", "32x24", "--encode", encode, "--processes", 1) == 0
    there, packed = read_channel("a", channel), read_channel("b", tmp_path / "out")
    seen = Preprocessing(24, 32)
    for original, copy in zip(there.sources, packed.sources, strict=True):
        np.testing.assert_array_equal(seen.image(original), seen.image(copy))
    assert run("pack", tmp_path / "out", "--verify", "--processes", 1) == 0


def test_packed_records_are_what_the_built_in_algorithm_takes(channel, tmp_path, capsys):
    for out, processes, images_ in (("one", 1, 1000), ("two", 2, 3)):  # part files leave no trace
        assert (
            run("pack", channel, tmp_path / out, "--to", "rec", "--processes", processes, "--shard-images", images_)
            == 0
        )
    name = channel.name
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert {k: v for k, v in one.items() if "plan" not in k} == {k: v for k, v in two.items() if "plan" not in k}
    assert set(one) == {f"{name}.rec", f"{name}.idx", f"{name}.lst", "SHA256SUMS", ".SHA256SUMS.plan"}
    assert "train with --set labels=NORMAL,PNEUMONIA" in capsys.readouterr().out
    index = dict(map(int, line.split("\t")) for line in one[f"{name}.idx"].decode().splitlines())
    assert {record.id: record.offset for record in recordio.scan(tmp_path / "one" / f"{name}.rec")} == index
    there, packed = (
        read_channel("a", channel),
        read_channel("b", tmp_path / "one", "auto", ReadOptions(labels=("NORMAL", "PNEUMONIA"))),
    )
    assert (there.names, list(there.ids), list(there.patients)) == (
        packed.names,
        list(packed.ids),
        list(packed.patients),
    )
    np.testing.assert_array_equal(there.targets, packed.targets)


def test_unknown_labels_survive_packing_and_lost_patients_are_told(tmp_path, capsys):
    xrays.table(tmp_path / "in", "path,patient,Mass,Nodule\na.png,p,1,0\nb.png,q,,1\n", ["a.png", "b.png"])
    for to in ("shards", "rec"):
        assert run("pack", tmp_path / "in", tmp_path / to, "--to", to, "--processes", 1) == 0
        listing = read_channel("x", tmp_path / to, "auto", ReadOptions(labels=("Mass", "Nodule")))
        np.testing.assert_array_equal(listing.targets, [[1, 0], [np.nan, 1]])
        assert (list(listing.patients) == ["p", "q"]) is (to == "shards")
        assert ("RecordIO keeps no patients" in capsys.readouterr().out) is (to == "rec")


@pytest.mark.parametrize("words", [["pack", "in", "out", "--to", "rec"], ["list", "in", "--out", "out/a.lst"]])
def test_the_labels_to_train_with_are_one_word_of_a_shell(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    xrays.folders(tmp_path / "in", **{"Pleural Effusion": ["a.png"], "Crohn's": ["b.png"]})
    assert run(*words) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "train with --set" in line)
    assert shlex.split(line.partition("train with ")[2]) == ["--set", "labels=Crohn's,Pleural Effusion"]


@pytest.mark.parametrize("to", ["rec", "list"])
def test_one_label_alone_survives_with_its_unknowns(tmp_path, capsys, to):
    xrays.table(tmp_path / "in", "path,Pneumonia\na.png,1\nb.png,0\nc.png,\n", ["a.png", "b.png", "c.png"])
    words = (
        ["pack", tmp_path / "in", tmp_path / "out", "--to", "rec"]
        if to == "rec"
        else ["list", tmp_path / "in", "--out", tmp_path / "lst" / "a.lst"]
    )
    assert run(*words) == 0
    assert to == "rec" or (tmp_path / "lst" / "a.lst").is_file()
    assert "--set labels=Pneumonia" in capsys.readouterr().out
    where = {"folder": tmp_path / "out"} if to == "rec" else {"folder": tmp_path / "in", "lists": tmp_path / "lst"}
    listing = read_channel("x", options=ReadOptions(labels=("Pneumonia",)), **where)
    assert (listing.names, listing.exclusive) == (("Pneumonia",), False)
    np.testing.assert_array_equal(listing.targets[np.argsort(listing.ids)], [[1], [0], [np.nan]])


def test_pack_by_a_split_makes_a_channel_for_each_part(channel, tmp_path):
    assert run("split", channel, "--out", tmp_path / "s.csv", "--validation", "0.25", "--test", "0.25") == 0
    assert run("pack", channel, tmp_path / "out", "--split", tmp_path / "s.csv", "--processes", 1) == 0
    part = {row["id"]: row["part"] for row in rows(tmp_path / "s.csv")}
    for name in ("train", "validation", "test"):
        assert set(read_channel(name, tmp_path / "out" / name).ids) == {i for i, p in part.items() if p == name}


def test_shuffled_packing_holds_the_same_images_in_the_seeds_order(channel, tmp_path):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("pack", channel, tmp_path / out, "--shuffle", seed, "--processes", 1) == 0
    ids = {out: list(read_channel("x", tmp_path / out).ids) for out in "abc"}
    assert ids["a"] == ids["b"] != ids["c"]
    assert sorted(ids["a"]) == sorted(ids["c"]) != ids["a"]


def test_corrupt_images_stop_the_packing_or_are_left_out(channel, tmp_path, capsys):
    shutil.copytree(channel, tmp_path / "in")
    bad = tmp_path / "in" / "NORMAL" / "person0_1.png"
    bad.write_bytes(bad.read_bytes()[:150])
    message = refused(capsys, "pack", tmp_path / "in", tmp_path / "out", "--processes", 2)
    assert "person0_1.png cannot be read" in message and "--skip-corrupt" in message
    assert not list((tmp_path / "out").glob("*.tar")) and not (tmp_path / "out" / "SHA256SUMS").exists()
    assert (
        run("pack", tmp_path / "in", tmp_path / "other", "--processes", 2, "--skip-corrupt", "--shard-images", 4) == 0
    )
    assert "1 image could not be read and was left out" in capsys.readouterr().out
    assert len(read_channel("x", tmp_path / "other").ids) == 15


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_packing_that_a_damaged_image_stopped_goes_on_without_it(channel, tmp_path, capsys, to):
    shutil.copytree(channel, tmp_path / "in")
    bad = sorted((tmp_path / "in").glob("*/*"))[9]
    bad.write_bytes(bad.read_bytes()[:150])
    words = ["pack", tmp_path / "in", tmp_path / "out", "--to", to, "--processes", 1, "--shard-images", 4]
    assert "give --skip-corrupt to go on" in refused(capsys, *words)
    assert run(*words, "--skip-corrupt") == 0
    message = capsys.readouterr().out
    assert "going on: 2 of 4 parts are there" in message and "1 image could not be read and was left out" in message
    assert run("pack", tmp_path / "in", tmp_path / "whole", *words[3:], "--skip-corrupt") == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert run(*words, "--skip-corrupt") == 0
    assert "packed already" in capsys.readouterr().out
    assert f"{tmp_path / 'out'} is packed without 1 images that could not be read; give --skip-corrupt" in refused(
        capsys, *words
    )


def test_a_run_without_skip_corrupt_takes_up_no_part_that_lacks_images(channel, tmp_path, capsys, monkeypatch):
    shutil.copytree(channel, tmp_path / "in")
    bad = sorted((tmp_path / "in").glob("*/*"))[1]
    bad.write_bytes(bad.read_bytes()[:150])
    words = ["pack", tmp_path / "in", tmp_path / "out", "--processes", 1, "--shard-images", 4]
    with monkeypatch.context() as patch:  # stopped after its last shard
        patch.setattr("thorax.data.shards.write_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*words, "--skip-corrupt") == 130
    assert bad.name in refused(capsys, *words)
    assert run(*words, "--skip-corrupt") == 0
    assert "going on: 4 of 4 parts are there" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_what_is_no_image_stops_the_packing_or_is_left_out(tmp_path, capsys, to):
    root = xrays.folders(tmp_path / "images", A=["a.png", "b.png"], B=["c.png"])
    (root / "A" / "link.png").symlink_to("nowhere.png")
    assert "link.png" in refused(capsys, "pack", root, tmp_path / "out", "--to", to)
    (root / "A" / "link.png").unlink()
    os.mkfifo(root / "A" / "pipe.png")  # reading it would wait for ever
    assert "pipe.png cannot be read: it is not a file" in refused(capsys, "pack", root, tmp_path / "out2", "--to", to)
    assert run("pack", root, tmp_path / "out3", "--to", to, "--skip-corrupt") == 0
    assert "1 image could not be read and was left out" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_a_full_disk_is_one_line(channel, tmp_path, capsys, monkeypatch, to):
    assert run("pack", channel, tmp_path / "whole", "--to", to) == 0
    written = os.fsync

    def full(file: int) -> None:
        if os.fstat(file).st_size > 5_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(file)

    monkeypatch.setattr(os, "fsync", full)
    message = refused(capsys, "pack", channel, tmp_path / "out", "--to", to)
    assert "No space left on device" in message and "free some space and run again" in message
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["plan.json"]
    monkeypatch.undo()
    assert run("pack", channel, tmp_path / "out", "--to", to) == 0
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "whole").keys()


def test_packing_again_does_nothing_and_other_images_or_options_are_refused(channel, tmp_path, capsys):
    assert run("pack", channel, tmp_path / "out", "--processes", 1) == 0
    before = contents(tmp_path / "out")
    assert run("pack", channel, tmp_path / "out", "--processes", 2) == 0
    assert "packed already" in capsys.readouterr().out
    message = refused(capsys, "pack", channel, tmp_path / "out", "--size", 32)
    assert (
        f"packed from another set or with other options; remove the folder {tmp_path / 'out'}, or choose another one"
        in message
    )
    assert contents(tmp_path / "out") == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    assert "is not empty (thesis.doc)" in refused(capsys, "pack", channel, tmp_path / "full")


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_packing_goes_on_after_kill_9(tmp_path, to):
    """Killed with two parts done; what comes out is what an undisturbed run gives, and no process is left."""
    source = tmp_path / "in"
    for n in range(24):
        xrays.put(source / "AB"[n % 2] / f"{n}.png", xrays.grey(40, 40, seed=n))
    words = [
        "pack",
        source,
        tmp_path / "out",
        "--to",
        to,
        "--size",
        400,
        "--encode",
        "png",
        "--shard-images",
        4,
        "--processes",
        2,
    ]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, words)], stdout=subprocess.DEVNULL, env=clean_environment()
    )
    deadline = time.monotonic() + 60
    while (
        not (tmp_path / "out" / ".pack" / "unit-000001.json").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.002)
    children = psutil.Process(process.pid).children()
    process.kill()
    assert process.wait() == -9
    assert len(children) == 2
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert not (tmp_path / "out" / "SHA256SUMS").exists()
    kept = {
        name: data for name, data in contents(tmp_path / "out").items() if "00000" in name and "partial" not in name
    }
    assert len(kept) >= 4
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*000000.tar")}
    assert run(*words) == 0
    assert run(*words[:2], tmp_path / "whole", *words[3:]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in changed.items())  # not done twice


def test_what_a_run_leaves_that_is_killed_after_its_last_file_is_removed(channel, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("pack", channel, out, "--processes", 1, "--to", "rec") == 0
    files = sorted(path.name for path in out.iterdir())
    (out / ".pack").mkdir()
    (out / ".pack/part-000000.rec").write_bytes(b"records")
    assert run("pack", channel, out, "--processes", 1, "--to", "rec") == 0
    assert "nothing to do" in capsys.readouterr().out and sorted(path.name for path in out.iterdir()) == files


def test_verify_finds_what_has_changed(channel, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("pack", channel, out, "--processes", 1, "--shard-images", 9) == 0
    assert run("pack", out, "--verify", "--processes", 1) == 0
    assert "3 files are as written, 16 images can be decoded" in capsys.readouterr().out
    shard = out / "shard-000001.tar"
    data = bytearray(shard.read_bytes())
    data[2000] ^= 1
    shard.write_bytes(data)
    assert "shard-000001.tar is not as it was written: sha256" in refused(capsys, "pack", out, "--verify")
    assert f"remove the folder {out}" in refused(
        capsys, "pack", channel, out, "--processes", 1, "--shard-images", 9
    )  # not "nothing to do"
    shard.unlink()
    assert "shard-000001.tar is missing" in refused(capsys, "pack", out, "--verify")
    assert "shard-000001.tar is missing" in refused(capsys, "pack", channel, out, "--processes", 1, "--shard-images", 9)
    assert "--verify is for a folder that prepare.py pack has finished" in refused(capsys, "pack", channel, "--verify")
