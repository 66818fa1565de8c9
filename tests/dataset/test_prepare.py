"""prepare.py: list, split, coco and nih, as a user starts them."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import images
from conftest import clean_environment
from preparing import SCRIPT, contents, refused, rows, run, sixteen_images
from thorax.data.formats import read_channel
from thorax.data.formats.channel import ReadOptions
from thorax.dataset.arguments import COMMANDS
from thorax_launch.cli.prepare import main


@pytest.fixture(scope="module")
def channel(tmp_path_factory) -> Path:
    return sixteen_images(tmp_path_factory.mktemp("channel"))


# --- help


def test_help_names_every_command_and_imports_no_torch():
    code = (
        "import sys; from thorax_launch.cli import prepare\n"
        "try: prepare.main(['--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    path = f"{SCRIPT.parents[1] / 'source_dir'}:{SCRIPT.parent}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(PYTHONPATH=path)
    )
    assert done.returncode == 0, done.stderr
    assert all(f"    {name} " in done.stdout for name in (*COMMANDS, "upload"))


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
    listing = read_channel(
        "train", channel, "lst", ReadOptions(labels=("NORMAL", "PNEUMONIA")), tmp_path / "l" / "x.lst"
    )
    assert {i: listing.names[int(row.argmax())] for i, row in zip(listing.ids, listing.targets, strict=True)} == {
        i: i.split("/")[0] for i in listing.ids
    }
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
    assert {line.split("\t")[1] for line in (tmp_path / "x.lst").read_text().splitlines() if "\tNORMAL/" in line} == {
        "1"
    }
    images.table(tmp_path / "in", "path,Mass,Nodule,Edema\na.png,1,0,1\n", ["a.png"])
    assert run("list", tmp_path / "in", "--out", tmp_path / "y", "--labels", "Edema,Nodule") == 0
    assert (tmp_path / "y.lst").read_text() == "0\t1\t0\ta.png\n"
    assert "--labels leaves out the class PNEUMONIA" in refused(
        capsys, "list", channel, "--out", tmp_path / "z", "--labels", "NORMAL"
    )


def test_list_of_many_labels_has_a_column_for_each(tmp_path):
    images.table(tmp_path, "path,Mass,Nodule\na.png,1,0\nb.png,,1\n", ["a.png", "b.png"])
    assert run("list", tmp_path, "--out", tmp_path / "out" / "x") == 0
    assert {line.split("\t", 1)[1] for line in (tmp_path / "out" / "x.lst").read_text().splitlines()} == {
        "1\t0\ta.png",
        "-1\t1\tb.png",
    }


# --- split


def test_split_is_by_patient_seeded_and_written_with_its_hash(channel, tmp_path, capsys):
    for name in ("a.csv", "b.csv"):
        assert run("split", channel, "--out", tmp_path / name, "--validation", "0.25", "--test", "0.25") == 0
    out = capsys.readouterr().out
    table = rows(tmp_path / "a.csv")
    assert {row["id"] for row in table} == {i.relative_to(channel).as_posix() for i in channel.rglob("*.*")}
    by_part = {
        part: {row["patient"] for row in table if row["part"] == part} for part in ("train", "validation", "test")
    }
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
    images.table(tmp_path, "path,patient,Mass,split\n" + "\n".join(lines), [f"{n}.png" for n in range(20)])
    assert run("split", tmp_path, "--out", tmp_path / "out" / "s.csv", "--validation", "0.2") == 0
    part = {row["id"]: row["part"] for row in rows(tmp_path / "out" / "s.csv")}
    assert {i for i, p in part.items() if p == "test"} == {f"{n}.png" for n in range(15, 20)}
    assert sum(p == "validation" for p in part.values()) == 3
    assert run("split", tmp_path, "--out", tmp_path / "out" / "t.csv", "--anew", "--seed", "3") == 0
    assert {row["id"] for row in rows(tmp_path / "out" / "t.csv") if row["part"] == "test"} != {
        f"{n}.png" for n in range(15, 20)
    }


def test_split_takes_an_official_test_list(channel, tmp_path, capsys):
    chosen = ["person0_0.jpeg", "person0_1.png", "person1_2.png", "person1_3.jpeg"]
    (tmp_path / "test.txt").write_text("\n".join([*chosen, "other.png", ""]))
    assert run("split", channel, "--out", tmp_path / "s.csv", "--test-list", tmp_path / "test.txt") == 0
    assert "1 of the 5 images" in capsys.readouterr().out
    assert sorted(row["id"].split("/")[1] for row in rows(tmp_path / "s.csv") if row["part"] == "test") == sorted(
        chosen
    )
    (tmp_path / "test.txt").write_text("person0_0.jpeg\nperson2_4.png")  # the others of these patients stay in train
    assert "patients are in both train and test" in refused(
        capsys, "split", channel, "--out", tmp_path / "t.csv", "--test-list", tmp_path / "test.txt"
    )
    assert not (tmp_path / "t.csv").exists()
    (tmp_path / "test.txt.gz").write_bytes(gzip.compress("\n".join(chosen).encode()))
    assert run("split", channel, "--out", tmp_path / "u.csv", "--test-list", tmp_path / "test.txt.gz") == 0
    assert rows(tmp_path / "u.csv") == rows(tmp_path / "s.csv")


# --- tables


def coco(root: Path) -> Path:
    for n in range(4):
        images.put(root / "val2017" / f"{n}.jpg", seed=n)
    boxes = [(0, 1, 0), (0, 18, 0), (1, 18, 1), (2, 90, 0)]
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(
        json.dumps(
            {
                "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)],
                "annotations": [
                    {"id": k, "image_id": i, "category_id": c, "iscrowd": crowd}
                    for k, (i, c, crowd) in enumerate(boxes)
                ],
                "categories": [
                    {"id": 1, "name": "person"},
                    {"id": 18, "name": "dog"},
                    {"id": 90, "name": "toothbrush"},
                ],
            }
        )
    )
    return root


def test_coco_to_a_table(tmp_path, capsys):
    root = coco(tmp_path)
    assert run("coco", root, "--labels", "dog,person", "--out", root / "t.csv") == 0
    assert [[row[k] for k in ("path", "dog", "person")] for row in rows(root / "t.csv")] == [
        ["val2017/0.jpg", "1", "1"],
        ["val2017/1.jpg", "1", "0"],
        ["val2017/2.jpg", "0", "0"],
        ["val2017/3.jpg", "0", "0"],
    ]
    assert list(read_channel("x", root, "csv").names) == ["dog", "person"]
    assert run("coco", root, "--labels", "dog,person", "--no-crowds", "--drop-empty", "--out", root / "u.csv") == 0
    assert [row["path"] for row in rows(root / "u.csv")] == ["val2017/0.jpg"]
    assert "--labels: 'persn' is unknown" in (
        message := refused(capsys, "coco", root, "--labels", "persn", "--out", root / "v.csv")
    )
    assert "did you mean person?" in message and not (root / "v.csv").exists()


def test_nih_to_a_table(tmp_path):
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID\n00000001_000.png,Mass|Edema,0,1\n00000001_001.png,No"
        " Finding,1,1\n00000002_000.png,Hernia,0,2\n"
    )
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n00000001_001.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    images.put(tmp_path / "images" / "00000001_001.png")
    pytest.importorskip("pyarrow")
    assert run("nih", tmp_path, "--out", tmp_path / "some.csv") == 0
    assert [row["path"] for row in rows(tmp_path / "some.csv")] == ["images/00000001_001.png"]
    assert run("nih", tmp_path, "--without-images", "--out", tmp_path / "out" / "all.parquet") == 0
    from pyarrow import parquet

    table = parquet.read_table(tmp_path / "out" / "all.parquet").to_pydict()
    assert (table["split"], table["patient"]) == (["train", "train", "test"], ["00000001", "00000001", "00000002"])
    assert (table["Mass"], table["Edema"], table["Hernia"]) == ([1, 0, 0], [1, 0, 0], [0, 0, 1])


# --- mistakes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "IMAGES", "--out", "OUT", "--ratio", "1.5"], "--ratio 1.5 is out of range"),
        (
            ["list", "IMAGES", "--out", "OUT", "--data-format", "tiff"],
            "--data-format tiff is not known; choose one of auto, folder",
        ),
        (["list", "IMAGES", "--out", "OUT", "--seed", "-1"], "--seed -1 is out of range; choose 0 or more"),
        (["split", "IMAGES", "--out", "OUT", "--seed", "-1"], "--seed -1 is out of range; choose 0 or more"),
        (["pack", "IMAGES", "OUT", "--shuffle", "-1"], "--shuffle -1 is out of range; choose 0 or more"),
        (["list", "NOWHERE", "--out", "OUT"], "NOWHERE is not a folder"),
        (["split", "IMAGES", "--out", "OUT", "--test", "0.9"], "--test 0.9 is out of range"),
        (
            ["split", "IMAGES", "--out", "OUT", "--test-list", "NOWHERE"],
            "--test-list .*NOWHERE cannot be read: No such file",
        ),
        (["split", "IMAGES", "--out", "OUT", "--test-list", "SPLIT"], "none of its 2 images is in the set"),
        (["list", "IMAGES", "--out", "IMAGES/"], "--out .*/ is a folder; write how the lists in it are to be named"),
        (["split", "IMAGES", "--out", "IMAGES"], "--out .* is a folder; name a file"),
        (
            ["split", "IMAGES", "--out", "OUT.parquet"],
            "--out .*OUT.parquet: a split is written as CSV; name it .*OUT.csv",
        ),
        (["check", "IMAGES", "--json", "IMAGES"], "--json .* is a folder; name a file"),
        (["stats", "IMAGES", "--png", "SPLIT/x.png"], "--png .*SPLIT/x.png: its folder cannot be made: "),
        (["pack", "IMAGES"], "OUT is missing"),
        (["pack", "IMAGES", "OUT", "--verify"], "--verify checks one packed folder and writes nothing"),
        (["pack", "IMAGES", "OUT", "--size", "3"], "--size 3 is out of range; write the short side"),
        (["pack", "IMAGES", "OUT", "--size", "64x"], "--size 64x is out of range"),
        (["pack", "IMAGES", "OUT", "--quality", "101"], "--quality 101 is out of range"),
        (["pack", "IMAGES", "OUT", "--size", "64", "--encode", "keep"], "--size 64 with --encode keep"),
        (["pack", "IMAGES", "IMAGES/packed"], "lies in the folder that is packed"),
        (["pack", "IMAGES", "SPLIT/x"], "the folder .*SPLIT/x cannot be made: Not a directory"),
        (["pack", "IMAGES", "OUT", "--split", "NOWHERE"], "--split .*NOWHERE cannot be read: No such file"),
        (["pack", "IMAGES", "OUT", "--split", "SPLIT"], r"--split .*SPLIT has no part .* for 16 images"),
        (["coco", "IMAGES", "--out", "OUT.csv"], "data_format=coco but .* holds"),
        (["nih", "IMAGES", "--without-images", "--out", "OUT.csv"], "data_format=nih but"),
        (["upload", "IMAGES", "http://bucket/x"], "http://bucket/x is not an S3 address"),
        (["upload", "NOWHERE", "s3://bucket/x"], "NOWHERE is not a folder"),
        (["upload", "IMAGES", "s3://bucket/x", "--exclude", "*"], "has no files to upload"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(channel, tmp_path, capsys, words, message):
    (tmp_path / "SPLIT").write_text("id,part\nother.png,test\n")
    places = {
        "IMAGES": str(channel),
        "OUT": str(tmp_path / "OUT"),
        "NOWHERE": str(tmp_path / "NOWHERE"),
        "SPLIT": str(tmp_path / "SPLIT"),
    }
    before = contents(tmp_path)
    for name, place in places.items():
        words = [word.replace(name, place) if not word.startswith("--") else word for word in words]
    import re

    assert re.search(message, refused(capsys, *words))
    assert contents(tmp_path) == before


def test_former_spellings_of_flags_work_with_one_line(tmp_path, capsys):
    images.folders(tmp_path / "set", A=["a.png", "b.png"], B=["c.png"])
    words = ["pack", str(tmp_path / "set"), str(tmp_path / "out"), "--shard-films", "2", "--processes", "1"]
    assert main(words) == 0
    assert len(list((tmp_path / "out").glob("*.tar"))) == 2
    assert capsys.readouterr().err.count("warning: --shard-films is deprecated; write --shard-images\n") == 1
