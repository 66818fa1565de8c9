"""Tables: parts, Parquet, other separators."""

from __future__ import annotations

import gzip
import sys

import numpy as np
import pytest

import images
from listings import channel, read, refused

NAN = np.nan


def test_a_split_column_cuts_the_channel(tmp_path):
    listing = read(channel(tmp_path, x__csv="path,label,split\na.png,A,train\nb.png,B,VAL\nc.png,A,testing\n"))
    assert listing.parts == ["train", "validation", "test"]
    assert listing.names == ("A", "B")
    assert "line 2: the split is 'all'; write train, validation or test" in refused(
        channel(tmp_path / "b", x__csv="path,label,split\na.png,A,all\n")
    )


def test_semicolons_and_packed_tables(tmp_path):
    text = "path,labels\na.png,Mass;Edema\nb.png,\n"
    (channel(tmp_path) / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    listing = read(tmp_path)
    assert listing.names == ("Edema", "Mass")
    np.testing.assert_array_equal(listing.targets, [[1, 1], [0, 0]])
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode())[:20])
    assert "x.csv.gz is not a CSV in UTF-8" in refused(tmp_path)


def parquet(root, **columns):
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), channel(root) / "x.parquet")
    return root


def test_parquet_is_read_as_csv_is(tmp_path):
    wide = read(parquet(tmp_path / "wide", path=["a.png", "b.png"], Mass=[1, 0], Edema=[None, True], patient=[7, 8]))
    assert (wide.names, wide.patients) == (("Mass", "Edema"), ["7", "8"])
    np.testing.assert_array_equal(wide.targets, [[1, NAN], [0, 1]])
    lists = read(
        parquet(tmp_path / "lists", path=["a.png", "b.png"], labels=[["Mass", "Edema"], []], split=["train", "test"])
    )
    np.testing.assert_array_equal(lists.targets, [[1, 1], [0, 0]])
    assert lists.parts == ["train", "test"]


def test_bad_parquet(tmp_path, monkeypatch):
    assert "x.parquet has no path column" in refused(parquet(tmp_path / "a", where=["a.png"], label=["A"]))
    assert "x.parquet line 2: gone.png does not exist" in refused(
        parquet(tmp_path / "b", path=["a.png", "gone.png"], label=["A", "B"])
    )
    (tmp_path / "b" / "x.parquet").write_bytes(b"PAR1 not really")
    assert "x.parquet is not a readable Parquet file" in refused(tmp_path / "b")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "Parquet needs pyarrow; pip install pyarrow, or use a .csv" in refused(tmp_path / "b")


def test_table_paths_stay_in_the_channel(tmp_path):
    images.put(tmp_path / "a.png")
    assert "x.csv line 2: ../a.png leads out of the channel" in refused(
        channel(tmp_path / "data", x__csv="path,label\n../a.png,A\n")
    )
