"""A byte of a packed set that flips: one line that names file and record, or the very same images; never others."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import images
from thorax.data.columns import ByteRangeColumn
from thorax.data.formats import read_channel
from thorax.data.packed import SUMS
from thorax.data.samples import Listing
from thorax.data.shards import INDEX
from thorax.data.streaming import Lane
from thorax.dataset.pack_state import PackOptions
from thorax.dataset.packing import pack
from thorax.dataset.reading import read_images
from thorax.errors import ThoraxError

FLIPS = 150


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    folder = tmp_path_factory.mktemp("source")
    for k in range(6):
        place = folder / "ab"[k % 2]
        place.mkdir(exist_ok=True)
        (place / f"{k}.png").write_bytes(images.data(images.grey(12, 12, seed=k)))
    return read_images(folder, "auto", (), print)


def packed(source: Listing, out: Path, to: str) -> Path:
    pack(source, out, PackOptions(to, shard_images=4), say=lambda _: None)
    return out


def content(folder: Path) -> list[tuple[object, ...]]:
    """Everything that training takes from it."""
    found = read_channel("train", folder, "auto")
    rows = zip(found.ids, found.patients, found.targets.tolist(), found.sources, strict=True)
    return [(*row[:2], tuple(row[2]), row[3].read()) for row in rows]


def found(folder: Path, good: list[tuple[object, ...]]) -> str:
    """Why the set cannot be read; "" where it is the good one."""
    try:
        assert content(folder) == good
    except ThoraxError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("to", "index"), [("shards", True), ("shards", False), ("rec", True)])
def test_a_flipped_bit_anywhere_is_told_or_changes_nothing(
    to: str, index: bool, source: Listing, tmp_path: Path
) -> None:
    folder = packed(source, tmp_path / "packed", to)
    if not index:
        (folder / INDEX).unlink()
    good, chosen, told = content(folder), random.Random(to), 0
    files = sorted(file for file in folder.iterdir() if file.name != SUMS and not file.name.startswith("."))
    for _ in range(FLIPS):
        file = chosen.choice(files)
        before = file.read_bytes()
        damaged = bytearray(before)
        damaged[chosen.randrange(len(damaged))] ^= 1 << chosen.randrange(8)
        file.write_bytes(damaged)
        if problem := found(folder, good):
            told += 1
            assert file.name in problem
            assert "\n" not in problem
        file.write_bytes(before)
    assert told > FLIPS // 10
    assert content(folder) == good


@pytest.mark.parametrize("to", ["shards", "rec"])
def test_zeros_in_place_of_an_image_are_told_where_it_is_streamed_too(to: str, source: Listing, tmp_path: Path) -> None:
    folder = packed(source, tmp_path / "packed", to)
    sources = read_channel("train", folder, "auto").sources
    assert isinstance(sources, ByteRangeColumn)
    place = sources[2]
    with place.path.open("r+b") as file:
        file.seek(place.offset + 20)
        file.write(bytes(16))
    lane = Lane(sources, np.arange(4), np.arange(len(sources)), 1 << 20, True)
    told = rf"{place.path.name} at byte {place.offset} is damaged: its bytes have the CRC-32 "
    for read in (place.read, lambda: lane.read_until(2)):
        with pytest.raises(ThoraxError, match=told):
            read()
    lane.close()
    assert sources[1].read().startswith(b"\x89PNG")


def test_a_set_of_an_earlier_version_loads_and_says_so_once(source: Listing, tmp_path: Path) -> None:
    folder = packed(source, tmp_path / "packed", "shards")
    good = content(folder)
    with np.load(folder / INDEX) as stored:
        arrays = {name: stored[name] for name in stored if name != "crcs"}
    np.savez(folder / INDEX, **arrays)
    (folder / SUMS).unlink()
    assert content(folder) == good
    notes = read_channel("train", folder, "auto").notes
    assert [note for note in notes if "without checksums" in note] == [
        "packed by an earlier version, without checksums of its images: damaged bytes would not be noticed"
    ]


@pytest.mark.parametrize("to", ["shards", "rec"])
@pytest.mark.parametrize("what", ["unit-000000.json", "unit"])
def test_damage_between_a_kill_and_going_on_is_packed_anew(
    to: str, what: str, source: Listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out, lines = packed(source, tmp_path / "whole", to), tmp_path / "out", []
    monkeypatch.setattr("thorax.dataset.pack_state.finish", stop)
    with pytest.raises(KeyboardInterrupt):
        packed(source, out, to)
    monkeypatch.undo()
    state = out / ".pack"
    file = state / what if what != "unit" else out / "shard-000000.tar" if to == "shards" else state / "part-000000.rec"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 3] ^= 4
    file.write_bytes(damaged)
    pack(source, out, PackOptions(to, shard_images=4), say=lines.append)
    assert any(
        line.startswith(f"warning: {file} is ") and line.endswith("; its images are packed anew") for line in lines
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {p.name: p.read_bytes() for p in whole.iterdir()}
    shutil.rmtree(out)


def stop(*_: object) -> None:
    raise KeyboardInterrupt
