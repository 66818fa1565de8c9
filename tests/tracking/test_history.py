"""history.csv: a row per epoch, fixed-point numbers, whole or not at all."""

from __future__ import annotations

import csv
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.errors import ThoraxError
from thorax.tracking.history import write_history


def cells(file):
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.reader(text))


def test_the_file_as_it_is_written(tmp_path):
    rows = [
        {"epoch": 1, "train_loss": 0.5, "learning_rate": 7e-05},
        {"epoch": 2, "train_loss": 1 / 3, "validation_auc": math.nan},
    ]
    write_history(rows, tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_bytes() == (
        b"epoch,train_loss,learning_rate,validation_auc\n1,0.50000000,0.00007000,\n2,0.33333333,,nan\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_a_longer_history_replaces_the_shorter_one(tmp_path):
    rows = [{"epoch": k, "train_loss": 1 / k} for k in range(1, 4)]
    for n in range(1, 4):
        write_history(rows[:n], tmp_path / "history.csv")
        assert [row[0] for row in cells(tmp_path / "history.csv")] == ["epoch", *map(str, range(1, n + 1))]


def test_no_rows_are_a_file_without_rows(tmp_path):
    write_history([], tmp_path / "history.csv")
    assert (tmp_path / "history.csv").read_text() == "\n"


def test_a_file_that_cannot_be_written_is_a_users_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ThoraxError, match="history cannot be saved in"):
        write_history([{"epoch": 1}], tmp_path / "file" / "history.csv")


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", 'c,"d"']), st.one_of(st.integers(), st.floats(allow_infinity=False))
        ),
        max_size=5,
    )
)
def test_every_number_comes_back_and_none_has_an_exponent(tmp_path_factory, rows):
    file = tmp_path_factory.getbasetemp() / "history.csv"
    write_history(rows, file)
    names, *found = cells(file)
    assert len(found) == len(rows) or not names
    assert set(names) == {key for row in rows for key in row}
    for row, texts in zip(rows, found, strict=False):
        for name, text in zip(names, texts, strict=True):
            if name not in row:
                assert text == ""
            elif math.isnan(row[name]):
                assert text == "nan"
            else:
                assert re.fullmatch(r"-?[0-9]+(\.[0-9]{8})?", text)
                assert float(text) == pytest.approx(row[name], rel=1e-12, abs=1e-8)
