"""prepare.py: list, split, pack, coco and nih, as a user starts them."""

from __future__ import annotations

import csv
import errno
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import films
import numpy as np
import psutil
import pytest
from conftest import clean_environment
from PIL import Image

import prepare
from thorax.data import recordio
from thorax.data.formats import read_channel
from thorax.data.formats.channel import Options
from thorax.data.preprocessing import Preprocessing

SCRIPT = Path(prepare.__file__)


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    """16 films of 8 patients in two classes, JPEG and PNG, upright and not square."""
    root = tmp_path_factory.mktemp("channel")
    for n in range(16):
        name = f"{'NORMAL' if n % 4 < 2 else 'PNEUMONIA'}/person{n // 2}_{n}.{'png' if n % 3 else 'jpeg'}"
        films.put(root / name, films.grey(60, 48 + n, seed=n))
    return root


def run(*words: object) -> int:
    return prepare.main([str(word) for word in words])


def refused(capsys, *words: object) -> str:
    """The one line that a mistake gives."""
    capsys.readouterr()
    assert run(*words) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


# --- help


def test_help_names_every_command_and_imports_no_torch():
    code = "import sys, prepare\ntry: prepare.main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, env=clean_environment())
    assert done.returncode == 0, done.stderr
    assert all(f"    {name} " in done.stdout for name in prepare.COMMANDS)


def test_a_wrong_command_line_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as caught:
        run("pak")
    assert caught.value.code == 2
    assert "invalid choice: 'pak'" in capsys.readouterr().err


# --- list


def test_list_writes_what_the_lst_format_reads(channel, tmp_path, capsys):
    assert run("list", channel, "--out", tmp_path / "l" / "x") == 0
    assert "classes: 0 NORMAL, 1 PNEUMONIA; train with --set labels=NORMAL,PNEUMONIA" in capsys.readouterr().out
    lines = (tmp_path / "l" / "x.lst").read_text().splitlines()
    assert sorted(int(line.split("\t")[0]) for line in lines) == list(range(16))
    listing = read_channel("train", channel, "lst", Options(labels=("NORMAL", "PNEUMONIA")), tmp_path / "l" / "x.lst")
    assert {i: listing.names[int(row.argmax())] for i, row in zip(listing.ids, listing.targets, strict=True)} == {i: i.split("/")[0] for i in listing.ids}
    assert len(listing.ids) == 16
    assert list(listing.ids) != sorted(listing.ids)  # shuffled, as im2rec does


def test_list_parts_are_whole_patients_and_follow_from_the_seed(channel, tmp_path):
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        assert run("list", channel, "--out", tmp_path / name, "--ratio", "0.5", "--seed", seed) == 0
    texts = {name: [(tmp_path / f"{name}_{part}.lst").read_text() for part in ("train", "val")] for name in "abc"}
    assert texts["a"] == texts["b"] != texts["c"]
    people = [{line.split("\t")[2].split("/")[1].split("_")[0] for line in text.splitlines()} for text in texts["a"]]
    assert not people[0] & people[1] and len(people[0] | people[1]) == 8


def test_labels_are_kept_and_numbered_in_the_order_that_is_given(channel, tmp_path, capsys):
    assert run("list", channel, "--out", tmp_path / "x", "--labels", "PNEUMONIA,NORMAL") == 0
    assert {line.split("\t")[1] for line in (tmp_path / "x.lst").read_text().splitlines() if "\tNORMAL/" in line} == {"1"}
    films.table(tmp_path / "in", "path,Mass,Nodule,Edema\na.png,1,0,1\n", ["a.png"])
    assert run("list", tmp_path / "in", "--out", tmp_path / "y", "--labels", "Edema,Nodule") == 0
    assert (tmp_path / "y.lst").read_text() == "0\t1\t0\ta.png\n"
    assert "--labels leaves out the class PNEUMONIA" in refused(capsys, "list", channel, "--out", tmp_path / "z", "--labels", "NORMAL")


def test_list_of_many_labels_has_a_column_for_each(tmp_path):
    films.table(tmp_path, "path,Mass,Nodule\na.png,1,0\nb.png,,1\n", ["a.png", "b.png"])
    assert run("list", tmp_path, "--out", tmp_path / "out" / "x") == 0
    assert {line.split("\t", 1)[1] for line in (tmp_path / "out" / "x.lst").read_text().splitlines()} == {"1\t0\ta.png", "-1\t1\tb.png"}


# --- split


def test_split_is_by_patient_seeded_and_written_with_its_hash(channel, tmp_path, capsys):
    for name in ("a.csv", "b.csv"):
        assert run("split", channel, "--out", tmp_path / name, "--validation", "0.25", "--test", "0.25") == 0
    out = capsys.readouterr().out
    table = rows(tmp_path / "a.csv")
    assert {row["id"] for row in table} == {i.relative_to(channel).as_posix() for i in channel.rglob("*.*")}
    by_part = {part: {row["patient"] for row in table if row["part"] == part} for part in ("train", "validation", "test")}
    assert [len(people) for people in by_part.values()] == [4, 2, 2]
    assert len(set.union(*by_part.values())) == 8
    for part, people in by_part.items():  # both classes in each: stratified
        assert len({row["id"].split("/")[0] for row in table if row["part"] == part}) == 2, (part, people)
    data = (tmp_path / "a.csv").read_bytes()
    assert data == (tmp_path / "b.csv").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert (tmp_path / "a.csv.sha256").read_text() == f"{digest}  a.csv\n"
    assert digest in out


def test_split_honours_what_the_set_says_and_cuts_validation_from_train(tmp_path):
    lines = [f"{n}.png,p{n},{n % 2},{'test' if n > 14 else 'train'}" for n in range(20)]
    films.table(tmp_path, "path,patient,Mass,split\n" + "\n".join(lines), [f"{n}.png" for n in range(20)])
    assert run("split", tmp_path, "--out", tmp_path / "out" / "s.csv", "--validation", "0.2") == 0
    part = {row["id"]: row["part"] for row in rows(tmp_path / "out" / "s.csv")}
    assert {i for i, p in part.items() if p == "test"} == {f"{n}.png" for n in range(15, 20)}
    assert sum(p == "validation" for p in part.values()) == 3
    assert run("split", tmp_path, "--out", tmp_path / "out" / "t.csv", "--anew", "--seed", "3") == 0
    assert {row["id"] for row in rows(tmp_path / "out" / "t.csv") if row["part"] == "test"} != {f"{n}.png" for n in range(15, 20)}


def test_split_takes_an_official_test_list(channel, tmp_path, capsys):
    chosen = ["person0_0.jpeg", "person0_1.png", "person1_2.png", "person1_3.jpeg"]
    (tmp_path / "test.txt").write_text("\n".join([*chosen, "other.png", ""]))
    assert run("split", channel, "--out", tmp_path / "s.csv", "--test-list", tmp_path / "test.txt") == 0
    assert "1 of the 5 films" in capsys.readouterr().out
    assert sorted(row["id"].split("/")[1] for row in rows(tmp_path / "s.csv") if row["part"] == "test") == sorted(chosen)
    (tmp_path / "test.txt").write_text("person0_0.jpeg\nperson2_4.png")  # the others of these patients stay in train
    assert "patients are in both train and test" in refused(capsys, "split", channel, "--out", tmp_path / "t.csv", "--test-list", tmp_path / "test.txt")
    assert not (tmp_path / "t.csv").exists()
    (tmp_path / "test.txt.gz").write_bytes(gzip.compress("\n".join(chosen).encode()))
    assert run("split", channel, "--out", tmp_path / "u.csv", "--test-list", tmp_path / "test.txt.gz") == 0
    assert rows(tmp_path / "u.csv") == rows(tmp_path / "s.csv")


# --- pack


def test_packed_shards_are_the_channel_and_its_bytes_do_not_depend_on_the_processes(channel, tmp_path):
    for out, processes in (("one", 1), ("two", 2)):
        assert run("pack", channel, tmp_path / out, "--shard-films", 5, "--processes", processes) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    there, packed = read_channel("a", channel), read_channel("b", tmp_path / "one")
    assert (there.names, list(there.ids), list(there.patients)) == (packed.names, list(packed.ids), list(packed.patients))
    np.testing.assert_array_equal(there.targets, packed.targets)
    for n in range(16):  # without --size the files are kept as they are
        assert packed.sources[n].read() == Path(there.sources[n]).read_bytes()
    assert sorted(path.name for path in (tmp_path / "one").glob("*.*")) == [
        ".SHA256SUMS.plan", "shard-000000.tar", "shard-000001.tar", "shard-000002.tar", "shard-000003.tar", "shards.npz",
    ]  # fmt: skip
    for line in (tmp_path / "one" / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((tmp_path / "one" / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize(("encode", "kind"), [("jpeg", "JPEG"), ("png", "PNG")])
def test_packed_films_have_the_wanted_short_side(channel, tmp_path, encode, kind):
    assert run("pack", channel, tmp_path / "out", "--size", 32, "--encode", encode, "--processes", 1) == 0
    packed = read_channel("b", tmp_path / "out")
    from io import BytesIO

    for n, source in enumerate(packed.sources):
        with Image.open(BytesIO(source.read())) as image:
            width = int(packed.ids[n].split("_")[1].split(".")[0]) + 48
            assert (min(image.size), image.mode, image.format) == (32, "L", kind)
            assert image.size[0] / image.size[1] == pytest.approx(width / 60, rel=0.03)


@pytest.mark.parametrize("encode", ["raw", "png"])
def test_stretched_films_are_packed_as_training_sees_them(channel, tmp_path, encode):
    """--size 32x24 without loss is image_shape=1,24,32 done ahead: not one grey level differs."""
    assert run("pack", channel, tmp_path / "out", "--size", "32x24", "--encode", encode, "--processes", 1) == 0
    there, packed = read_channel("a", channel), read_channel("b", tmp_path / "out")
    seen = Preprocessing(24, 32)
    for original, copy in zip(there.sources, packed.sources, strict=True):
        np.testing.assert_array_equal(seen.film(original), seen.film(copy))
    assert run("pack", tmp_path / "out", "--verify", "--processes", 1) == 0


def test_packed_records_are_what_the_built_in_algorithm_takes(channel, tmp_path, capsys):
    for out, processes, films_ in (("one", 1, 1000), ("two", 2, 3)):  # part files leave no trace
        assert run("pack", channel, tmp_path / out, "--to", "rec", "--processes", processes, "--shard-films", films_) == 0
    name = channel.name
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert {k: v for k, v in one.items() if "plan" not in k} == {k: v for k, v in two.items() if "plan" not in k}
    assert set(one) == {f"{name}.rec", f"{name}.idx", f"{name}.lst", "SHA256SUMS", ".SHA256SUMS.plan"}
    assert "train with --set labels=NORMAL,PNEUMONIA" in capsys.readouterr().out
    index = dict(map(int, line.split("\t")) for line in one[f"{name}.idx"].decode().splitlines())
    assert {record.id: record.offset for record in recordio.scan(tmp_path / "one" / f"{name}.rec")} == index
    there, packed = read_channel("a", channel), read_channel("b", tmp_path / "one", "auto", Options(labels=("NORMAL", "PNEUMONIA")))
    assert (there.names, list(there.ids), list(there.patients)) == (packed.names, list(packed.ids), list(packed.patients))
    np.testing.assert_array_equal(there.targets, packed.targets)


def test_unknown_labels_survive_packing_and_lost_patients_are_told(tmp_path, capsys):
    films.table(tmp_path / "in", "path,patient,Mass,Nodule\na.png,p,1,0\nb.png,q,,1\n", ["a.png", "b.png"])
    for to in ("shards", "rec"):
        assert run("pack", tmp_path / "in", tmp_path / to, "--to", to, "--processes", 1) == 0
        listing = read_channel("x", tmp_path / to, "auto", Options(labels=("Mass", "Nodule")))
        np.testing.assert_array_equal(listing.targets, [[1, 0], [np.nan, 1]])
        assert (list(listing.patients) == ["p", "q"]) is (to == "shards")
        assert ("RecordIO keeps no patients" in capsys.readouterr().out) is (to == "rec")


def test_pack_by_a_split_makes_a_channel_for_each_part(channel, tmp_path):
    assert run("split", channel, "--out", tmp_path / "s.csv", "--validation", "0.25", "--test", "0.25") == 0
    assert run("pack", channel, tmp_path / "out", "--split", tmp_path / "s.csv", "--processes", 1) == 0
    part = {row["id"]: row["part"] for row in rows(tmp_path / "s.csv")}
    for name in ("train", "validation", "test"):
        assert set(read_channel(name, tmp_path / "out" / name).ids) == {i for i, p in part.items() if p == name}


def test_shuffled_packing_holds_the_same_films_in_the_seeds_order(channel, tmp_path):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("pack", channel, tmp_path / out, "--shuffle", seed, "--processes", 1) == 0
    ids = {out: list(read_channel("x", tmp_path / out).ids) for out in "abc"}
    assert ids["a"] == ids["b"] != ids["c"]
    assert sorted(ids["a"]) == sorted(ids["c"]) != ids["a"]


def test_corrupt_films_stop_the_packing_or_are_left_out(channel, tmp_path, capsys):
    shutil.copytree(channel, tmp_path / "in")
    bad = tmp_path / "in" / "NORMAL" / "person0_1.png"
    bad.write_bytes(bad.read_bytes()[:150])
    told = refused(capsys, "pack", tmp_path / "in", tmp_path / "out", "--processes", 2)
    assert "person0_1.png cannot be read" in told and "--skip-corrupt" in told
    assert not list((tmp_path / "out").glob("*.tar")) and not (tmp_path / "out" / "SHA256SUMS").exists()
    assert run("pack", tmp_path / "in", tmp_path / "other", "--processes", 2, "--skip-corrupt", "--shard-films", 4) == 0
    assert "1 films could not be read and were left out" in capsys.readouterr().out
    assert len(read_channel("x", tmp_path / "other").ids) == 15


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_what_is_no_film_stops_the_packing_or_is_left_out(tmp_path, capsys, to):
    root = films.folders(tmp_path / "films", A=["a.png", "b.png"], B=["c.png"])
    (root / "A" / "link.png").symlink_to("nowhere.png")
    assert "link.png" in refused(capsys, "pack", root, tmp_path / "out", "--to", to)
    (root / "A" / "link.png").unlink()
    os.mkfifo(root / "A" / "pipe.png")  # reading it would wait for ever
    assert "pipe.png cannot be read: it is not a file" in refused(capsys, "pack", root, tmp_path / "out2", "--to", to)
    assert run("pack", root, tmp_path / "out3", "--to", to, "--skip-corrupt") == 0
    assert "1 films could not be read and were left out" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_a_full_disk_is_one_line(channel, tmp_path, capsys, monkeypatch, to):
    assert run("pack", channel, tmp_path / "whole", "--to", to) == 0
    written = os.fsync

    def full(file: int) -> None:
        if os.fstat(file).st_size > 5_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written(file)

    monkeypatch.setattr(os, "fsync", full)
    told = refused(capsys, "pack", channel, tmp_path / "out", "--to", to)
    assert "No space left on device" in told and "free some space and run again" in told
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["plan.json"]
    monkeypatch.undo()
    assert run("pack", channel, tmp_path / "out", "--to", to) == 0
    assert contents(tmp_path / "out").keys() == contents(tmp_path / "whole").keys()


def test_packing_again_does_nothing_and_other_films_or_options_are_refused(channel, tmp_path, capsys):
    assert run("pack", channel, tmp_path / "out", "--processes", 1) == 0
    before = contents(tmp_path / "out")
    assert run("pack", channel, tmp_path / "out", "--processes", 2) == 0
    assert "packed already" in capsys.readouterr().out
    assert "packed from another set or with other options" in refused(capsys, "pack", channel, tmp_path / "out", "--size", 32)
    assert contents(tmp_path / "out") == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("x")
    assert "is not empty (thesis.doc)" in refused(capsys, "pack", channel, tmp_path / "full")


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_packing_goes_on_after_kill_9(tmp_path, to):
    """Killed with two parts done; what comes out is what an undisturbed run gives, and no process is left."""
    source = tmp_path / "in"
    for n in range(24):
        films.put(source / "AB"[n % 2] / f"{n}.png", films.grey(40, 40, seed=n))
    words = ["pack", source, tmp_path / "out", "--to", to, "--size", 400, "--encode", "png", "--shard-films", 4, "--processes", 2]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *map(str, words)], stdout=subprocess.DEVNULL, env=clean_environment())
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / ".pack" / "unit-000001.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    children = psutil.Process(process.pid).children()
    process.kill()
    assert process.wait() == -9
    assert len(children) == 2
    assert not psutil.wait_procs(children, timeout=20)[1]
    assert not (tmp_path / "out" / "SHA256SUMS").exists()
    kept = {name: data for name, data in contents(tmp_path / "out").items() if "00000" in name and "partial" not in name}
    assert len(kept) >= 4
    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*000000.tar")}
    assert run(*words) == 0
    assert run(*words[:2], tmp_path / "whole", *words[3:]) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time_ for path, time_ in changed.items())  # not done twice


def test_verify_finds_what_has_changed(channel, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("pack", channel, out, "--processes", 1, "--shard-films", 9) == 0
    assert run("pack", out, "--verify", "--processes", 1) == 0
    assert "3 files are as they were written, 16 films can be decoded" in capsys.readouterr().out
    shard = out / "shard-000001.tar"
    data = bytearray(shard.read_bytes())
    data[2000] ^= 1
    shard.write_bytes(data)
    assert "shard-000001.tar is not as it was written: sha256" in refused(capsys, "pack", out, "--verify")
    shard.unlink()
    assert "shard-000001.tar is missing" in refused(capsys, "pack", out, "--verify")
    assert "--verify is for a folder that prepare.py pack has finished" in refused(capsys, "pack", channel, "--verify")


# --- tables


def coco(root: Path) -> Path:
    for n in range(4):
        films.put(root / "val2017" / f"{n}.jpg", seed=n)
    boxes = [(0, 1, 0), (0, 18, 0), (1, 18, 1), (2, 90, 0)]
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps({
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)],
        "annotations": [{"id": k, "image_id": i, "category_id": c, "iscrowd": crowd} for k, (i, c, crowd) in enumerate(boxes)],
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}],
    }))  # fmt: skip
    return root


def test_coco_to_a_table(tmp_path, capsys):
    root = coco(tmp_path)
    assert run("coco", root, "--labels", "dog,person", "--out", root / "t.csv") == 0
    assert [[row[k] for k in ("path", "dog", "person")] for row in rows(root / "t.csv")] == [
        ["val2017/0.jpg", "1", "1"], ["val2017/1.jpg", "1", "0"], ["val2017/2.jpg", "0", "0"], ["val2017/3.jpg", "0", "0"],
    ]  # fmt: skip
    assert list(read_channel("x", root, "csv").names) == ["dog", "person"]
    assert run("coco", root, "--labels", "dog,person", "--no-crowds", "--drop-empty", "--out", root / "u.csv") == 0
    assert [row["path"] for row in rows(root / "u.csv")] == ["val2017/0.jpg"]
    assert "--labels: 'persn' is unknown" in (told := refused(capsys, "coco", root, "--labels", "persn", "--out", root / "v.csv"))
    assert "did you mean person?" in told and not (root / "v.csv").exists()


def test_nih_to_a_table(tmp_path):
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID\n00000001_000.png,Mass|Edema,0,1\n00000001_001.png,No Finding,1,1\n00000002_000.png,Hernia,0,2\n"
    )
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    films.put(tmp_path / "images" / "00000001_001.png")
    pytest.importorskip("pyarrow")
    assert run("nih", tmp_path, "--out", tmp_path / "some.csv") == 0
    assert [row["path"] for row in rows(tmp_path / "some.csv")] == ["images/00000001_001.png"]
    assert run("nih", tmp_path, "--without-films", "--out", tmp_path / "out" / "all.parquet") == 0
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "out" / "all.parquet").to_pydict()
    assert (table["split"], table["patient"]) == (["train", "train", "test"], ["00000001", "00000001", "00000002"])
    assert (table["Mass"], table["Edema"], table["Hernia"]) == ([1, 0, 0], [1, 0, 0], [0, 0, 1])


# --- mistakes


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list", "FILMS", "--out", "OUT", "--ratio", "1.5"], "--ratio 1.5 is out of range"),
        (["list", "FILMS", "--out", "OUT", "--data-format", "tiff"], "--data-format tiff is not known; choose one of auto, folder"),
        (["list", "NOWHERE", "--out", "OUT"], "NOWHERE is not a folder"),
        (["split", "FILMS", "--out", "OUT", "--test", "0.9"], "--test 0.9 is out of range"),
        (["split", "FILMS", "--out", "OUT", "--test-list", "NOWHERE"], "--test-list .*NOWHERE cannot be read: No such file"),
        (["split", "FILMS", "--out", "OUT", "--test-list", "SPLIT"], "none of its 2 films is in the set"),
        (["pack", "FILMS"], "OUT is missing"),
        (["pack", "FILMS", "OUT", "--verify"], "--verify checks one packed folder and writes nothing"),
        (["pack", "FILMS", "OUT", "--size", "3"], "--size 3 is out of range; write the short side"),
        (["pack", "FILMS", "OUT", "--size", "64x"], "--size 64x is out of range"),
        (["pack", "FILMS", "OUT", "--quality", "101"], "--quality 101 is out of range"),
        (["pack", "FILMS", "OUT", "--size", "64", "--encode", "keep"], "--size 64 with --encode keep"),
        (["pack", "FILMS", "FILMS/packed"], "lies in the folder that is packed"),
        (["pack", "FILMS", "SPLIT/x"], "the folder .*SPLIT/x cannot be made: Not a directory"),
        (["pack", "FILMS", "OUT", "--split", "NOWHERE"], "--split .*NOWHERE cannot be read: No such file"),
        (["pack", "FILMS", "OUT", "--split", "SPLIT"], r"--split .*SPLIT says no part .* of 16 films"),
        (["coco", "FILMS", "--out", "OUT.csv"], "data_format=coco but .* holds"),
        (["nih", "FILMS", "--without-films", "--out", "OUT.csv"], "holds 0 NIH tables"),
        (["upload", "FILMS", "http://bucket/x"], "http://bucket/x is not an S3 address"),
        (["upload", "NOWHERE", "s3://bucket/x"], "NOWHERE is not a folder"),
        (["upload", "FILMS", "s3://bucket/x", "--exclude", "*"], "has no files to upload"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_written(channel, tmp_path, capsys, words, told):
    (tmp_path / "SPLIT").write_text("id,part\nother.png,test\n")
    places = {"FILMS": str(channel), "OUT": str(tmp_path / "OUT"), "NOWHERE": str(tmp_path / "NOWHERE"), "SPLIT": str(tmp_path / "SPLIT")}
    before = contents(tmp_path)
    for name, place in places.items():
        words = [word.replace(name, place) if not word.startswith("--") else word for word in words]
    import re

    assert re.search(told, refused(capsys, *words))
    assert contents(tmp_path) == before
