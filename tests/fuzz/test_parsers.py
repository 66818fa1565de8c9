"""Whatever a file holds, reading it gives a result or one line, and soon.

Good files of every kind are damaged at random: bits flip, stretches go or are repeated, what hurts parsers is put in.
THORAX_FUZZ says how many damaged files each parser gets (`make fuzz`: thousands); FUZZ_SEED which ones.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import struct
import tarfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import images
from thorax.data import recordio, shards
from thorax.data.formats import read_channel
from thorax.data.samples import label_space, sample_set
from thorax.errors import ThoraxError
from thorax.models.weights_file import read_weights
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_archive import unpack
from thorax.tables import write_table
from thorax_launch.recipe import Recipe
from untrained import untrained

ROUNDS, SEED = int(os.environ.get("THORAX_FUZZ", "25")), int(os.environ.get("FUZZ_SEED", "0"))
RECIPES = Path(__file__).resolve().parents[2] / "launch/recipes"
#: CPU seconds of one file, at most: a tenth of it is usual, the rest is for a busy machine.
LONGEST = 3.0
PNG = images.data(images.grey(8, 8))
NAMES = [f"{k}.png" for k in range(4)]

#: What parsers stumble over.
HARMFUL = [
    *(
        b"1e400",
        b"NaN",
        b"-1",
        b"9" * 5000,
        b"[" * 3000,
        b'{"a":' * 3000,
        b'"',
        b"\x00",
        b"\\ud800",
        b"\xff\xfe",
        b"\n",
    ),
    *(
        b"\r",
        b",",
        b"\t",
        b"|",
        b"1e-400",
        b"Infinity",
        b"true",
        b"null",
        b"{}",
        b"[]",
        b"0x10",
        b"1_000",
        b"../",
        b"\x1b[2J",
    ),
    *(
        b"/dev/zero",
        b"=cmd",
        b"-2147483649",
        b"9" * 20,
        b'"a"',
        b" ",
        b"&a [*a,*a]",
        b"!!python/object:os.system ",
        b"---\n",
        b"a: &a [x]\nb: &b [*a, *a]\n",
        b"\x93NUMPY",
        b"32 size=-512\n",
        b"size=99999999999\n",
    ),
]

TABLE = (
    "image,Effusion,Mass,patient,view,age\n0.png,1,0,p0,PA,34\n1.png,0,1,p1,AP,51\n2.png,1,1,p2,PA,60\n3.png,0,,p3,,\n"
)
NIH = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
    "0.png,Cardiomegaly|Effusion,0,1,058Y,M,PA\n1.png,No Finding,1,1,58,M,PA\n2.png,Mass,0,2,81,F,AP\n"
    "3.png,Effusion,0,3,1,F,AP\n"
)
COCO = {
    "images": [{"id": k, "file_name": name, "width": 8, "height": 8} for k, name in enumerate(NAMES)],
    "annotations": [{"id": k, "image_id": k, "category_id": 1 + k % 2} for k in range(4)],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}
MANIFEST = "".join(
    json.dumps({"source-ref": name, "class": [k % 2, 1 - k % 2], "class-metadata": {"class-map": {"0": "a", "1": "b"}}})
    + "\n"
    for k, name in enumerate(NAMES)
)
LST = "".join(f"{k}\t{k % 2}\t{k // 2}\t{name}\n" for k, name in enumerate(NAMES))


def write_records(folder: Path) -> None:
    at, index = 0, ""
    with (folder / "train.rec").open("wb") as out:
        for k in range(4):
            payload = recordio.pack(PNG, [float(k % 2), 1.0], k)
            index += f"{k}\t{at}\n"
            at += out.write(struct.pack("<4sI", recordio.MAGIC, len(payload)) + payload + bytes(-len(payload) % 4))
    (folder / "train.idx").write_text(index)


def write_tar(folder: Path) -> None:
    rows = [(f"{k:04d}", {"label": "a" if k % 2 else "b"}, ".png", PNG) for k in range(4)]
    shards.write_shard(folder / "shard-000000.tar", rows)


def write_indexed(folder: Path) -> None:
    """Shards with their index."""
    rows = [(f"{k:04d}", {"id": f"{k}.png", "patient": "p", "label": "ab"[k % 2]}, ".png", PNG) for k in range(4)]
    offsets, sizes, _ = shards.write_shard(folder / "shard-000000.tar", rows)
    length = (folder / "shard-000000.tar").stat().st_size
    columns = np.array([length]), ("a", "b"), True, NAMES, ["p"] * 4, np.zeros(4), np.array(offsets), np.array(sizes)
    targets, crcs = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], np.full(4, zlib.crc32(PNG))
    shards.write_index(shards.ShardIndex(["shard-000000.tar"], *columns, targets, crcs), folder)


def write_pax(folder: Path) -> None:
    """A tar with PAX headers, as tar writes names that are long."""
    with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for k in range(4):
            for suffix, data in ((".cls", b"ab"[k % 2 :][:1]), (".png", PNG)):
                member = tarfile.TarInfo(f"{'n' * 120}{k}{suffix}")
                member.size, member.pax_headers = len(data), {"comment": "x"}
                tar.addfile(member, io.BytesIO(data))


def write_parquet(folder: Path) -> None:
    columns = {"image": NAMES, "Effusion": [1, 0, 1, 0], "Mass": [0, 1, 1, None], "patient": ["p", "q", "r", "s"]}
    write_table(columns, folder / "labels.parquet", "table")


#: Kind of channel -> how a good one is written (beside four PNGs), and the files that are damaged.
CHANNELS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "table": (lambda folder: (folder / "labels.csv").write_text(TABLE), ("labels.csv",)),
    "gzip": (lambda folder: (folder / "labels.csv.gz").write_bytes(gzip.compress(TABLE.encode())), ("labels.csv.gz",)),
    "UTF-16": (lambda folder: (folder / "labels.csv").write_text(TABLE, encoding="utf-16"), ("labels.csv",)),
    "NIH": (lambda folder: (folder / "Data_Entry_2017.csv").write_text(NIH), ("Data_Entry_2017.csv",)),
    "lst": (lambda folder: (folder / "train.lst").write_text(LST), ("train.lst",)),
    "COCO": (lambda folder: (folder / "instances.json").write_text(json.dumps(COCO)), ("instances.json",)),
    "manifest": (lambda folder: (folder / "train.manifest").write_text(MANIFEST), ("train.manifest",)),
    "RecordIO": (write_records, ("train.rec", "train.idx")),
    "tar": (write_tar, ("shard-000000.tar",)),
    "PAX": (write_pax, ("a.tar",)),
    "index": (write_indexed, (shards.INDEX,)),
    "Parquet": (write_parquet, ("labels.parquet",)),
}
WITHOUT_PNG = ("RecordIO", "tar", "PAX", "index")


def damaged(chosen: random.Random, good: bytes) -> bytes:
    content = bytearray(good)
    for _ in range(chosen.choice((1, 1, 1, 2, 4))):
        at = chosen.randrange(len(content) + 1)
        end = min(len(content), at + chosen.choice((1, 2, 4, 8, 60)))
        match chosen.randrange(6):
            case 0 if at < len(content):
                content[at] ^= 1 << chosen.randrange(8)
            case 1:
                content[at:at] = chosen.choice(HARMFUL)
            case 2:
                del content[at : chosen.choice((end, len(content)))]
            case 3:
                content[at:at] = content[at:end] * chosen.choice((1, 2, 50))
            case 4:
                content[at:end] = chosen.choice(HARMFUL)
            case _:
                content[at:end] = chosen.randbytes(end - at)
    return bytes(content)


def check(read: Callable[[], object], content: bytes) -> None:
    """Reads a damaged file: a result, or a ThoraxError of one line, within LONGEST."""
    began = time.process_time()
    try:
        read()
        told = ""
    except ThoraxError as error:
        told = str(error)
    except Exception as error:
        raise AssertionError(f"{error!r:.200} for {content[:3000]!r}") from error
    assert "\n" not in told and "\x1b" not in told, told
    assert time.process_time() - began < LONGEST, content[:3000]


def read_all(folder: Path) -> None:
    listing = read_channel("train", folder, "auto")
    sample_set("train", listing, label_space(listing, (), None))


@pytest.mark.parametrize("kind", CHANNELS)
def test_a_damaged_channel(kind, tmp_path):
    write, files = CHANNELS[kind]
    if kind not in WITHOUT_PNG:
        for name in NAMES:
            (tmp_path / name).write_bytes(PNG)
    write(tmp_path)
    read_all(tmp_path)
    good = {name: (tmp_path / name).read_bytes() for name in files}
    chosen = random.Random(f"{kind} {SEED}")
    for _ in range(ROUNDS):
        name = chosen.choice(files)
        content = damaged(chosen, good[name])
        (tmp_path / name).write_bytes(content)
        check(lambda: read_all(tmp_path), content)
        (tmp_path / name).write_bytes(good[name])


def test_a_damaged_recipe(tmp_path):
    file, chosen = tmp_path / "recipe.yaml", random.Random(f"recipe {SEED}")
    good = [path.read_bytes() for path in sorted(RECIPES.glob("*.yaml"))]
    for _ in range(2 * ROUNDS):
        content = damaged(chosen, chosen.choice(good))
        file.write_bytes(content)
        check(lambda: Recipe.load(str(file)), content)


def test_damaged_arrays_and_archives(tmp_path):
    """What compare, weights and bundles are read from."""
    np.savez(tmp_path / "good.npz", probabilities=np.zeros((4, 2)), ids=np.array(NAMES))
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("n" * 120)
        member.size = 600
        tar.addfile(member, io.BytesIO(bytes(600)))
    packed = (tmp_path / "good.tar.gz").read_bytes()
    kinds = {
        "a.npz": ((tmp_path / "good.npz").read_bytes(), read_weights),
        "a.tar.gz": (packed, unpacked),
        "a.tar": (gzip.decompress(packed), unpacked),
    }
    chosen = random.Random(f"archives {SEED}")
    for name, (good, read) in kinds.items():
        for _ in range(ROUNDS):
            content = damaged(chosen, good)
            (tmp_path / name).write_bytes(content)
            check(lambda read=read, name=name: read(tmp_path / name), content)


def unpacked(file: Path) -> None:
    shutil.rmtree(unpack(file))


def test_a_damaged_description_of_a_bundle(tmp_path):
    """Without its seal, which would tell all of them at once."""
    folder, chosen = untrained(tmp_path / "model"), random.Random(f"bundle {SEED}")
    described = json.loads((folder / "bundle.json").read_text())
    del described["sha256"], described["files_sha256"]
    good = json.dumps(described).encode()

    def read() -> None:
        Bundle.load(folder).build_network()

    for _ in range(2 * ROUNDS):
        content = damaged(chosen, good)
        (folder / "bundle.json").write_bytes(content)
        check(read, content)
