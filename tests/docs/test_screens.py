"""What a machine sees wrong in terminals and pages: cut words and texts, tables out of the page, too little contrast.

The same scene as docs/screenshots.py, small; pictures are for eyes, by that script.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is in the extra dev")
pytest.importorskip("pyte", reason="pyte is in the extra dev")

from browser import CHROMIUM, SCHEMES, WIDTHS, chromium, looking, problems
from gallery import Scene, ask, prepared

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with prepared(tmp_path_factory.mktemp("scene"), images=60, epochs=2, jobs=1) as scene:
        yield scene


@pytest.mark.parametrize("name", ["help", "check", "runs", "leaderboard", "predict", "evaluate"])
def test_no_word_is_broken_at_80_columns(name: str, scene: Scene):
    """Each word of a narrow terminal's tables is one of a wide terminal's: no cell breaks one."""
    narrow, wide = (words(scene.terminal(name, columns).text) for columns in (80, 200))
    assert narrow and narrow - wide == set()


def words(screen: list[str]) -> set[str]:
    """Of the tables: the notes before and the sentences after them are wrapped wherever the terminal ends."""
    first = next((k for k, line in enumerate(screen) if line.startswith("test: ")), 1)
    last = next((k for k, line in enumerate(screen) if line.startswith("best: ")), len(screen))
    lines = (line for line in screen[first:last] if not line.startswith("("))  # what the lines of cells are
    return {word for line in lines for word in re.findall(r"[^\W\d_]{3,}", line)}


@pytest.mark.parametrize("name", ["check", "runs", "leaderboard", "predict", "evaluate"])
def test_tables_keep_their_frames_at_80_columns(name: str, scene: Scene):
    """A line of a frame ends where its table ends: the terminal wraps none."""
    for line in scene.terminal(name, 80).text:
        if line.startswith(("┏", "┡", "└", "├")):
            assert line.rstrip()[-1] in "┓┩┘┤", line


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "scores", "check", "profile", "web"])
def test_a_page_has_nothing_cut_off_and_can_be_read(name: str, width: int, scheme: str, scene: Scene):
    with chromium() as browser, looking(browser, scene.pages[name], width, scheme) as page:
        if name == "web":
            ask(sorted((scene.place / "images/test").glob("*/*.*"))[:2])(page)
        assert problems(page) == []


def test_the_machine_sees_what_is_wrong():
    """The check of pages finds each fault that it is there for."""
    bad = (
        "<meta name=viewport content='width=device-width'><body style='background:#fff'>"
        "<p style='color:#bbb'>pale</p>"
        "<div style='width:50px;overflow:hidden;white-space:nowrap'>a text that is cut</div>"
        "<table style='width:900px'><tr><td>wide</td></tr></table>"
        "<p style='width:60px;overflow-wrap:anywhere'>consolidation</p>"
    )
    with chromium() as browser, looking(browser, f"data:text/html,{bad.replace('#', '%23')}", 390, "light") as page:
        found = "\n".join(problems(page))
    assert (
        "contrast" in found
        and "pale" in found
        and "cut off: a text" in found
        and "broken: consolidation" in found
        and "the page is" in found
    )
