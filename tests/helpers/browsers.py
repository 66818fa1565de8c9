"""A Chromium for the tests of pages, and what they do with the page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium")
#: Milliseconds that a page is waited for.
MILLISECONDS = 15_000


def choose(page: Any, *files: Path) -> None:
    page.get_by_label("Choose images").set_input_files([str(file) for file in files])


def card(page: Any, name: str) -> Any:
    return page.get_by_role("article", name=name)
