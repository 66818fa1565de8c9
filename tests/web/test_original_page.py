"""The second project's page before our Lambda, in a real Chromium: another site's form, POST /prod, a text compared.

And our own page before models of two and of three exclusive classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import handler
import numpy as np
import pytest

import images
import lambda_stand_ins
from browsers import card, choose, needs_chromium
from hosting import tiny_bundle
from thorax.labels import LabelSpace
from thorax.serving.classifier import Classifier
from thorax_launch.local import deploy

pytest.importorskip("playwright.sync_api", reason="playwright is in the extra dev")
pytestmark = needs_chromium
#: Of the tiny network's making: it takes a flat grey for normal, a pattern for pneumonia.
NORMAL, PNEUMONIA = np.full((40, 48), 130, np.uint8), images.grey()

#: What the project does when a file is chosen: jQuery's ajax is an XMLHttpRequest with the Accept header */*.
SUBMIT = """
<!doctype html><title>A page</title><input type=file id=file><script>
  document.querySelector("#file").onchange = ({ target }) => {
    const form = new FormData(), request = new XMLHttpRequest();
    form.append("file", target.files[0]);
    request.open("POST", "API");
    request.onload = () => {
      const data = request.responseText;
      if (data === "PNEUMONIA") document.title = "isNormal = 0";
      else if (data === "NORMAL") document.title = "isNormal = 1";
      else document.title = `${request.status} ${data}`;
    };
    request.onerror = () => { document.title = "refused"; };
    request.send(form);
  };
</script>
"""


@pytest.fixture(scope="module")
def pneumonia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an app with two exclusive classes."""
    with deploy(tiny_bundle(tmp_path_factory.mktemp("pneumonia"), images.BINARY)) as endpoint:
        yield endpoint.address.rstrip("/")


@pytest.fixture
def another_site(pneumonia: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the project's page; its API is another site, at stage prod."""
    html = ""
    with (
        lambda_stand_ins.endpoint("chest", pneumonia) as runtime,
        lambda_stand_ins.http_api(handler.lambda_handler, "prod") as api,
        lambda_stand_ins.serving(lambda *_: (200, {"Content-Type": "text/html"}, html.encode())) as site,
    ):
        lambda_stand_ins.at_aws(monkeypatch, runtime)
        html = SUBMIT.replace("API", f"{api}/prod")
        monkeypatch.setenv("ALLOWED_ORIGIN", f"https://other.example.org, {site}")
        yield site


@pytest.mark.parametrize(("image", "title"), [(NORMAL, "isNormal = 1"), (PNEUMONIA, "isNormal = 0")])
def test_the_projects_page_shows_the_diagnosis(
    page: Any, another_site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: np.ndarray, title: str
) -> None:
    monkeypatch.setenv("ANSWER", "text/plain")
    file = images.put(tmp_path / "person1.png", images.data(image))
    page.goto(another_site)
    page.locator("#file").set_input_files(str(file))
    page.wait_for_function("document.title != 'A page'")
    assert page.title() == title


def test_a_site_that_is_not_named_gets_nothing(
    page: Any, another_site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED_ORIGIN", "https://other.example.org")
    page.goto(another_site)
    page.locator("#file").set_input_files(str(images.put(tmp_path / "a.png")))
    page.wait_for_function("document.title != 'A page'")
    assert page.title() == "refused"


def test_our_page_under_a_stage_without_its_last_slash(
    page: Any, pneumonia: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are found, its Content-Security-Policy lets them in, and it asks the API."""
    with (
        lambda_stand_ins.endpoint("chest", pneumonia) as runtime,
        lambda_stand_ins.http_api(handler.lambda_handler, "prod") as api,
    ):
        lambda_stand_ins.at_aws(monkeypatch, runtime)
        for address in (f"{api}/prod", f"{api}/prod/"):
            page.goto(address)
            choose(page, images.put(tmp_path / "a.png", images.data(PNEUMONIA)))
            image = card(page, "a.png")
            image.get_by_role("meter").first.wait_for()
            assert image.locator(".verdict strong").inner_text() == "PNEUMONIA"


def test_our_page_with_two_classes(page: Any, pneumonia: str, tmp_path: Path) -> None:
    files = [images.put(tmp_path / f"{k}.png", images.data(one)) for k, one in enumerate((NORMAL, PNEUMONIA))]
    page.goto(pneumonia)
    assert page.locator("#model").inner_text() == "cnn5 \u00b7 NORMAL or PNEUMONIA"
    choose(page, *files)
    p = Classifier.load(tiny_bundle(tmp_path / "model", images.BINARY)).predict(files)[:, 0]
    for k, label in enumerate(("NORMAL", "PNEUMONIA")):
        image = card(page, f"{k}.png")
        meter = image.get_by_role("meter", name="PNEUMONIA")
        meter.wait_for()
        assert image.get_by_role("meter").count() == 1
        assert float(meter.get_attribute("aria-valuenow")) == pytest.approx(100 * p[k], abs=1.1)
        assert image.locator(".verdict strong").inner_text() == label


def test_our_page_with_three_classes(page: Any, tmp_path: Path) -> None:
    space = LabelSpace(("BACTERIA", "NORMAL", "VIRUS"), "multiclass")
    model, file = tiny_bundle(tmp_path / "model", space), images.put(tmp_path / "a.png", images.data(PNEUMONIA))
    p = Classifier.load(model).predict([file])[0]
    with deploy(model) as endpoint:
        page.goto(endpoint.address)
        choose(page, file)
        image = card(page, "a.png")
        image.get_by_role("meter").nth(2).wait_for()
        shown = {
            m.get_attribute("aria-label"): m.get_attribute("aria-valuenow") for m in image.get_by_role("meter").all()
        }
        assert [float(shown[name]) for name in space.classes] == pytest.approx((100 * p).tolist(), abs=1.1)
        assert image.locator(".verdict strong").inner_text() == space.classes[int(p.argmax())]
