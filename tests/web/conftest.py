"""A real app around a tiny bundle, and the same behind the Lambda and an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handler
import numpy as np
import pytest
from PIL import Image

import images
import lambda_stand_ins
from browsers import CHROMIUM, MILLISECONDS
from hosting import tiny_bundle
from thorax_launch.local import deploy


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app, without the last slash."""
    with deploy(tiny_bundle(tmp_path_factory.mktemp("bundle"))) as endpoint:
        yield endpoint.address.rstrip("/")


@pytest.fixture
def behind_aws(app: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an HTTP API whose Lambda asks an endpoint before the app."""
    with lambda_stand_ins.endpoint("chest", app) as runtime:
        lambda_stand_ins.at_aws(monkeypatch, runtime)
        with lambda_stand_ins.http_api(handler.lambda_handler) as address:
            yield address


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> lambda_stand_ins.FixedRuntime:
    """The endpoint's stand-in, behind a Lambda without settings."""
    found = lambda_stand_ins.FixedRuntime()
    monkeypatch.setattr(handler, "runtime", lambda: found)
    monkeypatch.setenv("ENDPOINT_NAME", "chest")
    for name in ("ALLOWED_ORIGIN", "ANSWER", "MAX_BYTES", "TIMEOUT_S"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """image.png, second.jpeg, large.png (more than 1 MB) and notes.jpeg, which is no image."""
    folder = tmp_path_factory.mktemp("shelf")
    images.put(folder / "image.png", images.data(images.smooth(300, 240)))
    images.put(folder / "second.jpeg", images.data(images.smooth(260, 400), "JPEG"))
    noise = np.random.default_rng(0).integers(0, 255, (1100, 1000), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "large.png")
    (folder / "notes.jpeg").write_text("These are notes, no image.")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium. Tests that take it skip where playwright or Chromium is not there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        launched = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that must not make errors or ask another server than its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(MILLISECONDS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []
