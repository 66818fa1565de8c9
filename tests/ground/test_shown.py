"""Text that leaves the program: nothing in it is obeyed, and nothing of it is lost."""

from __future__ import annotations

import csv
import io
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from thorax.shown import cell, json_lines, read_cell, visible, visible_lines
from thorax.tables import read_table, to_csv, write_table

#: As hostile as names of files are.
NAMES = [
    "plain.png",
    "=cmd|' /C calc'!A0.png",
    "+1.png",
    "-1.png",
    "@SUM(A1).png",
    "'=1.png",
    "''=1",
    "'quoted' name.png",
    "'\\x1b",
    "'a\\\\b",
    "=a\\b",
    "C:\\new\\x1b.png",
    "\x1b]0;title\x07\x1b[2J.png",
    "\u202egnp.exe",
    "a\u2028b",
    "\x9b31m",
    'say "hi", <script>alert(1)</script>.png',
    "tab\there",
    "line\nFORGED: all is well",
    "\rover.png",
    "undecodable-\udcff\udc80.png",
    "\\",
    "'",
    "-0.5",
    "+3e-5",
    "-",
    "＝1＋1",
]

texts = st.one_of(
    st.text(st.characters(codec=None)), st.text(st.sampled_from("'=+-@\\xu1bnrt\x1b\n\t\r0.e\u202e\udcff"), max_size=12)
)


@given(texts)
@example("'\\x1b")
def test_a_cell_gives_back_every_text(text: str) -> None:
    written = cell(text)
    assert read_cell(written) == text
    assert visible(written) == written
    number = text.lstrip("+-").replace(".", "", 1).replace("e", "").replace("-", "").replace("+", "").isdigit()
    assert number or written[:1] not in ("=", "+", "-", "@", "\t", "\r")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("-0.5", "-0.5"),
        ("a=1", "a=1"),
        ("'tis", "'tis"),
        ("C:\\new\\x1b.png", "C:\\new\\x1b.png"),
        ("\x1b[2J", "'\\x1b[2J"),
        ("é ü 漢", "é ü 漢"),
        (-0.5, -0.5),
        ("", ""),
    ],
)
def test_cells(text: object, written: object) -> None:
    assert cell(text) == written


def test_a_table_comes_back_as_it_was_and_holds_nothing_that_is_obeyed(tmp_path: Path) -> None:
    columns = {"id": NAMES, "=label": list(map(str, range(len(NAMES)))), "value": [-0.5] * len(NAMES)}
    write_table(columns, tmp_path / "a.csv", "table")
    raw = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    assert visible_lines(raw) == raw
    assert len(raw.splitlines()) == len(NAMES) + 1
    rows = list(csv.reader(io.StringIO(raw)))
    assert not [c for row in rows for c in row[:2] if c[:1] in tuple("=+-@\t\r") and c not in ("-0.5", "+3e-5")]
    found = read_table(tmp_path / "a.csv")
    assert found.header == ["id", "=label", "value"]
    assert list(found.columns[0]) == NAMES
    assert (tmp_path / "a.csv").stat().st_mode & 0o077 == 0
    assert to_csv({"n": [float("nan"), None, 1e-7]}) == "n\n\n\n0.0000001\n".replace("\n\n\n", '\n""\n""\n')


def test_json_means_the_same() -> None:
    import json

    text = json.dumps(NAMES, ensure_ascii=False)
    assert json.loads(json_lines(text)) == NAMES
    assert visible_lines(json_lines(text)) == json_lines(text)
    json_lines(text).encode()


def test_a_bar_is_drawn_on_a_terminal_and_cleared_for_lines() -> None:
    code = (
        "import sys\nfrom thorax.console import guarded\nfrom thorax.tracking.progress import Bar, State\n"
        "def work():\n"
        "    bar = Bar(); bar.show(State('a\\x1b[2Jb', 1, 2)); bar.write('line \\x1b[2J'); bar.clear()\n"
        "    return 0\n"
        "sys.exit(guarded(work))\n"
    )
    main, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 100))
    done = subprocess.run([sys.executable, "-c", code], stdin=other, stdout=other, stderr=other)
    os.close(other)
    shown = os.read(main, 1 << 16).decode()  # all of it: the process has ended
    os.close(main)
    assert done.returncode == 0
    assert "\x1b[2J" not in shown
    assert "line \\x1b[2J" in shown
    assert "a\\x1b[2Jb" in shown
    assert "\r" in shown[: shown.index("line ")]  # the bar makes room


def test_whatever_a_command_prints_a_terminal_obeys_nothing_of_it() -> None:
    code = (
        "import sys\nfrom thorax.console import guarded\n"
        "def work():\n"
        "    for text in ('\\x1b]0;t\\x07\\x1b[2J', '\\udcff', '\\u202e', 'a\\rb', 'é\\tx'):\n"
        "        print(text); print(text, file=sys.stderr)\n"
        "    return 0\n"
        "sys.exit(guarded(work))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 0
    expected = "\\x1b]0;t\\x07\\x1b[2J\n\\udcff\n\\u202e\na\\rb\né\tx\n".encode()
    assert (done.stdout, done.stderr) == (expected, expected)
