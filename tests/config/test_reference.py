"""The documentation's table of hyperparameters is what the code reads."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from thorax.config import TrainingConfig
from thorax.config.fields import about
from thorax.config.parse import parse, spellings
from thorax.config.reference import help_text, markdown, rows
from thorax.config.schema import GROUPS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("hyperparameters_page", DOCS / "hyperparameters.py")
    module = importlib.util.module_from_spec(spec)
    before = sys.path[:]
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


def table():
    """(name, other spellings, type, default, meaning) of every row of the Markdown."""
    lines = [line for line in markdown().splitlines() if line.startswith("| `")]
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for line in lines]


def test_the_page_is_up_to_date(generator):
    stored = (DOCS / "hyperparameters.md").read_text(encoding="utf-8")
    assert stored == generator.page(), "docs/hyperparameters.md is out of date; run: make docs"


def test_the_script_writes_that_page(generator, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "source_dir").symlink_to(DOCS.parent / "source_dir")
    script = tmp_path / "docs" / "hyperparameters.py"
    script.write_bytes((DOCS / "hyperparameters.py").read_bytes())
    subprocess.run([sys.executable, str(script)], check=True, capture_output=True)
    assert script.with_suffix(".md").read_text(encoding="utf-8") == generator.page()


def test_every_hyperparameter_has_one_whole_row_in_order():
    assert {len(row) for row in table()} == {5}
    assert [row[0].strip("`") for row in table()] == [field.name for field in dataclasses.fields(TrainingConfig)]
    assert all(row[2] and row[3] and row[4] for row in table())


def test_every_spelling_is_in_the_table_with_its_origin():
    listed = {
        (name.strip("`"), s, origin)
        for name, others, *_ in table()
        for s, origin in re.findall(r"`(\w+)` \(([\w-]+)\)", others)
    }
    assert listed == {
        (f.name, s.name, s.origin) for f in dataclasses.fields(TrainingConfig) for s in about(f).spellings
    }
    assert list(dict.fromkeys(name for name, *_ in rows())) == list(GROUPS)
    assert {s for _, s, _ in listed} | {row[0].strip("`") for row in table()} == set(spellings())


def test_the_default_in_the_table_is_the_default():
    for name, _, _, default, _ in table():
        name = name.strip("`")
        value = TrainingConfig.__dataclass_fields__[name].default
        assert parse({name: "" if default == "not set" else default}).get(name, value) == value


def test_every_choice_and_range_is_listed():
    for row in table():
        a = about(TrainingConfig.__dataclass_fields__[row[0].strip("`")])
        for choice in list(a.choices)[: 5 if len(a.choices) > 20 else None]:
            assert choice in row[4]
        for end in (a.low, a.high):
            if end is not None and float(end).is_integer():
                assert re.search(rf"\b{int(end)}\b", row[4])


def test_help_lists_each_with_its_meaning():
    text = help_text()
    for field in dataclasses.fields(TrainingConfig):
        assert f"\n  --{field.name} " in text
        assert about(field).help in text
