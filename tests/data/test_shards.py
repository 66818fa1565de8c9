"""Tar shards as a channel: with the index and without, those of others, and damaged ones."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

import images
from thorax.data.formats import read_channel
from thorax.data.shards import INDEX, ShardIndex, members, read_index, write_index, write_shard
from thorax.errors import ThoraxError

MULTI = [{"Mass": 1, "Nodule": 0}, {"Mass": None, "Nodule": 1}, {"Mass": 0, "Nodule": 0}, {"Mass": 1, "Nodule": 1}]


def shard(file: Path, *entries: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    """A tar with these members."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for entry in entries:
            info = entry if isinstance(entry, tarfile.TarInfo) else tarfile.TarInfo(entry[0])
            data = b"" if isinstance(entry, tarfile.TarInfo) else entry[1]
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file


def image(seed: int = 0) -> bytes:
    return images.data(images.grey(seed=seed))


def about(**message: object) -> bytes:
    return json.dumps(message).encode()


def packed(folder: Path, labels: list[object], per_shard: int = 3, index: bool = True) -> Path:
    """A channel of shards with an image per label: a class's name, or {label: 1, 0 or None}."""
    folder.mkdir(parents=True, exist_ok=True)
    key = "labels" if isinstance(labels[0], dict) else "label"
    names = list(labels[0]) if isinstance(labels[0], dict) else sorted(set(labels))
    rows = [
        [np.nan if label[n] is None else label[n] for n in names]
        if isinstance(label, dict)
        else [float(label == n) for n in names]
        for label in labels
    ]
    which, offsets, sizes, lengths, shards = [], [], [], [], []
    for k, start in enumerate(range(0, len(labels), per_shard)):
        chosen = range(start, min(start + per_shard, len(labels)))
        file = folder / f"shard-{k:06d}.tar"
        a, b, digest = write_shard(
            file,
            [
                (f"{n:09d}", {"id": f"x/{n}.png", "patient": f"p{n // 2}", key: labels[n]}, ".png", image(n))
                for n in chosen
            ],
        )
        assert hashlib.sha256(file.read_bytes()).hexdigest() == digest
        which, offsets, sizes, lengths, shards = (
            which + [k] * len(a),
            offsets + a,
            sizes + b,
            [*lengths, file.stat().st_size],
            [*shards, file.name],
        )
    columns = (np.array(which), np.array(offsets), np.array(sizes), np.array(rows, np.float32))
    ids, people = [f"x/{n}.png" for n in range(len(labels))], [f"p{n // 2}" for n in range(len(labels))]
    if index:
        write_index(ShardIndex(shards, np.array(lengths), tuple(names), key == "label", ids, people, *columns), folder)
    return folder


@pytest.mark.parametrize("labels", [["N", "P", "P", "N", "P"], MULTI], ids=["classes", "labels"])
def test_with_and_without_the_index_the_channel_is_the_same(tmp_path, labels):
    folder = packed(tmp_path, labels)
    by_index = read_channel("train", folder)
    (folder / INDEX).unlink()
    by_headers = read_channel("train", folder)
    for listing in (by_index, by_headers):
        assert (list(listing.ids), list(listing.patients)) == (
            [f"x/{n}.png" for n in range(len(labels))],
            [f"p{n // 2}" for n in range(len(labels))],
        )
        assert [listing.sources[n].read() for n in range(len(labels))] == [image(n) for n in range(len(labels))]
        assert listing.exclusive is (labels is not MULTI)
    assert by_index.names == by_headers.names
    np.testing.assert_array_equal(by_index.targets, by_headers.targets)
    if labels is MULTI:
        np.testing.assert_array_equal(by_index.targets[1], [np.nan, 1])


def test_the_same_images_give_the_same_bytes(tmp_path):
    first, second = (packed(tmp_path / name, ["N", "P", "P"]) for name in "ab")
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


def test_any_tar_reader_can_read_a_shard(tmp_path):
    with tarfile.open(packed(tmp_path, ["N", "P"]) / "shard-000000.tar") as tar:
        assert tar.getnames() == ["000000000.json", "000000000.png", "000000001.json", "000000001.png"]
        assert json.load(tar.extractfile("000000001.json")) == {"id": "x/1.png", "patient": "p0", "label": "P"}
        assert tar.extractfile("000000001.png").read() == image(1)
        assert {(m.mtime, m.uid, m.mode) for m in tar.getmembers()} == {(0, 0, 0o644)}


def test_patients_may_be_numbers_and_one_of_them_0(tmp_path):
    about = [(n, json.dumps({"label": "AB"[n % 2], "patient": n // 2}).encode()) for n in range(4)]
    shard(tmp_path / "a.tar", *(entry for n, text in about for entry in ((f"{n}.json", text), (f"{n}.png", image(n)))))
    assert list(read_channel("train", tmp_path).patients) == ["0", "0", "1", "1"]


def test_webdataset_shards_of_others_are_read(tmp_path):
    """.cls beside the picture, folders in the keys, members of other kinds, GNU long names."""
    long = "deep/" * 30 + "person7_bacteria_2"
    folder = tarfile.TarInfo("deep")
    folder.type = tarfile.DIRTYPE
    shard(
        tmp_path / "a.tar",
        folder,
        ("b/1.jpg", image(1)),
        ("b/1.cls", b"1"),
        ("b/1.txt", b"x"),
        (f"{long}.cls", b"0\n"),
        (f"{long}.png", image(2)),
        ("notes.txt", b""),
    )
    listing = read_channel("train", tmp_path)
    assert (list(listing.ids), listing.names, listing.exclusive) == (["b/1", long], ("0", "1"), True)
    assert listing.targets.tolist() == [[0, 1], [1, 0]]
    assert list(listing.patients) == ["b/1", "person7"]


def entry(kind: bytes, name: str = "0.png") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("/etc/0.png", b"x")], "the member /etc/0.png has a path that leaves the shard"),
        ([("a/../../0.png", b"x")], r"the member a/../../0.png has a path that leaves the shard"),
        ([entry(tarfile.SYMTYPE)], "the member 0.png is a link or a device"),
        ([entry(tarfile.LNKTYPE)], "the member 0.png is a link or a device"),
        ([entry(tarfile.FIFOTYPE)], "the member 0.png is a link or a device"),
        ([("0.png", b"x")], "the image 0 has no label"),
        ([("0.png", b"x"), ("0.json", about(id="a"))], "the image 0 has no label"),
        ([("0.png", b"x"), ("0.json", about(label="a", labels={}))], "the image 0 has no label"),
        ([("0.png", b"x"), ("0.json", b"{")], "0.json is not JSON"),
        ([("0.png", b"x"), ("0.json", b"[1]")], "0.json is not a JSON object"),
        ([("0.png", b"x"), ("0.cls", b"\xff")], "0.cls is not UTF-8"),
        ([("0.png", b"x"), ("0.json", b" " * (1 << 20) + b"{}")], "0.json has 1048578 bytes, too many for a label"),
        ([("0.png", b"x"), ("0.jpg", b"x"), ("0.cls", b"1")], "0 has 2 pictures"),
        (
            [("0.png", b"x"), ("0.cls", b"1"), ("1.png", b"x"), ("1.json", about(id="0", label="2"))],
            "the image 0 is in the shards a second time",
        ),
        ([("0.png", b"x"), ("0.json", about(labels={"Mass": 0.5}))], "the image 0 has Mass=0.5; write 1, 0, or null"),
        (
            [("0.png", b"x"), ("0.json", about(labels={"Mass": "yes"}))],
            "the image 0 has Mass='yes'; write 1, 0, or null",
        ),
        (
            [("0.png", b"x"), ("0.json", about(labels={"Mass": 1})), ("1.png", b"x"), ("1.cls", b"0")],
            "some images have `labels`, but 1 has one `label`",
        ),
        ([("readme.txt", b"x")], "no images in"),
    ],
)
def test_a_shard_that_cannot_be_taken_is_one_line(tmp_path, entries, message):
    shard(tmp_path / "a.tar", *entries)
    with pytest.raises(ThoraxError, match=f"^channel train: .*{message}") as caught:
        read_channel("train", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left", [0, 100, 512, 700, 1024, 2048])
def test_a_shard_cut_short_is_told(tmp_path, left):
    """Also where it is cut between two members, which tar programs take for the end."""
    file = shard(tmp_path / "a.tar", ("0.cls", b"1"), ("0.png", bytes(900)), ("1.cls", b"1"), ("1.png", b"x"))
    os.truncate(file, left)
    with pytest.raises(ThoraxError, match=r"a.tar is cut short or (not an uncompressed tar|damaged at byte)"):
        list(members(file))


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    file = shard(tmp_path / "a.tar", ("0.cls", b"1"), ("0.png", b"x"))
    data = bytearray(file.read_bytes())
    data[1024 + 5] ^= 0xFF
    file.write_bytes(data)
    with pytest.raises(ThoraxError, match=r"a.tar is cut short or damaged at byte 1024"):
        list(members(file))


def test_a_compressed_tar_is_told(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.png"))
    with pytest.raises(ThoraxError, match=r"a.tar is cut short or not an uncompressed tar"):
        list(members(tmp_path / "a.tar"))


def spoil(folder: Path, how: str) -> None:
    file = folder / "shard-000001.tar"
    index = read_index(folder)
    if how == "cut":
        os.truncate(file, 5120)
    elif how == "gone":
        file.unlink()
    elif how == "more":
        (folder / "other.tar").write_bytes(bytes(10240))
    elif how == "torn":
        os.truncate(folder / INDEX, 300)
    elif how == "text":
        (folder / INDEX).write_text("hello")
    else:
        index.offsets[0] = {"outside": 10**9, "negative": -1}[how]
        write_index(index, folder)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", r"shard-000001.tar has 5120 bytes, 10240 in shards.npz: it was cut short or changed"),
        ("gone", r"shard-000001.tar is in shards.npz but not in the folder"),
        ("more", r"other.tar is not in shards.npz"),
        ("torn", r"shards.npz is damaged or not an index of shards"),
        ("text", r"shards.npz is damaged or not an index of shards"),
        ("outside", r"shards.npz names images outside of the shards"),
        ("negative", r"shards.npz names images outside of the shards"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_told(tmp_path, how, message):
    folder = packed(tmp_path, ["N", "P", "P", "N"], per_shard=2)
    spoil(folder, how)
    with pytest.raises(ThoraxError, match=message):
        read_channel("train", folder)


def test_an_index_holds_no_pickles(tmp_path):
    np.savez(tmp_path / INDEX, version=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ThoraxError, match="is damaged or not an index"):
        read_index(tmp_path)
