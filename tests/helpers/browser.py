"""Chromium for pictures of pages, and what a machine can see wrong in a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
WIDTHS = (1200, 390)
SCHEMES = ("light", "dark")

#: A function of the page: what is wrong with it.
PROBLEMS = (Path(__file__).parent / "problems.js").read_text(encoding="utf-8").partition("() =>")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        launched = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@contextmanager
def looking(browser: Any, address: str, width: int, scheme: str) -> Iterator[Any]:
    """The page at `address` in a window of that width, light or dark."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=1.5 if width < 600 else 1
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_load_state("load")
    yield page
    context.close()


def problems(page: Any) -> list[str]:
    """What is wrong with it, a line each."""
    found: list[str] = page.evaluate("".join(PROBLEMS[1:]))
    return found
