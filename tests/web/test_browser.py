"""The page in a real Chromium: before the app itself, and before the Lambda and an endpoint."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import requests
from PIL import Image

from browsers import card, choose, needs_chromium

pytest.importorskip("playwright.sync_api", reason="playwright is in the extra dev")
pytestmark = needs_chromium


@pytest.fixture(params=["app", "behind_aws"])
def site(request) -> str:
    return str(request.getfixturevalue(request.param))


def tab_to(page: Any, selector: str) -> None:
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    pytest.fail(f"Tab does not reach {selector}")


def test_an_image_is_scored_and_explained(page, site, app, shelf):
    """What the page shows is what the model says."""
    page.goto(site)
    assert page.get_by_role("note").inner_text().startswith("This is not a diagnosis.")
    choose(page, shelf / "image.png")
    image = card(page, "image.png")
    image.get_by_role("meter").nth(2).wait_for()
    answer = requests.post(
        f"{app}/invocations",
        (shelf / "image.png").read_bytes(),
        headers={"Accept": "application/json;verbose"},
        timeout=20,
    ).json()
    shown = {m.get_attribute("aria-label"): m for m in image.get_by_role("meter").all()}
    assert list(shown) == answer["labels"]
    for name, p, above in zip(answer["labels"], answer["probabilities"], answer["decisions"], strict=True):
        assert float(shown[name].get_attribute("aria-valuenow")) == pytest.approx(100 * p, abs=0.06)
        cut = f"{100 * answer['thresholds'][name]:.1f} %"
        assert (
            shown[name]
            .get_attribute("aria-valuetext")
            .endswith(f"{'at or above' if above else 'below'} the threshold of {cut}")
        )
        mark = shown[name].evaluate(
            "m => (m.querySelector('b').getBoundingClientRect().x + 1 - m.getBoundingClientRect().x) / m.clientWidth"
        )
        assert mark == pytest.approx(answer["thresholds"][name], abs=0.01)
    assert image.locator(".verdict strong").inner_text() == (", ".join(answer["predicted"]) or "None of the labels")
    assert page.get_by_role("status").inner_text() == "1 image scored"

    toggle = image.get_by_role("button", name="Heat map")
    toggle.click()
    choice = image.get_by_label("Label of the heat map")
    choice.select_option("Mass")  # of which this network's map is empty
    image.get_by_text("No region speaks for Mass: the heat map is empty.").wait_for()
    choice.select_option("Nodule")
    heat = image.get_by_role("img", name=re.compile("Heat map of Nodule"))
    heat.wait_for()
    assert not image.get_by_text("No region speaks").is_visible()
    assert heat.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [32, 32]
    assert heat.get_attribute("src").startswith("data:image/png;base64,")
    assert toggle.get_attribute("aria-pressed") == "true"
    toggle.click()
    assert not heat.is_visible()


def test_of_two_wishes_for_a_heat_map_the_last_one_counts(page, app, shelf):
    held: list[Any] = []
    page.goto(app)
    choose(page, shelf / "image.png")
    image = card(page, "image.png")
    image.get_by_role("meter").first.wait_for()
    labels = image.locator("option").all_inner_texts()
    page.route(f"**/invocations?*label={labels[0]}", lambda route: held.append(route))
    image.get_by_role("button", name="Heat map").click()
    wanted = next(label for label in labels[1:] if label != "Mass")  # whose map is empty
    image.get_by_label("Label of the heat map").select_option(wanted)
    image.get_by_role("img", name=f"Heat map of {wanted}").wait_for()
    with page.expect_response(f"**/invocations?*label={labels[0]}"):
        held[0].continue_()
    page.wait_for_timeout(300)
    assert image.get_by_role("img", name=f"Heat map of {wanted}").is_visible()


def test_several_images_and_a_wrong_one(page, site, shelf):
    page.goto(site)
    choose(page, shelf / "image.png", shelf / "notes.jpeg", shelf / "second.jpeg")
    wrong = card(page, "notes.jpeg").get_by_role("alert")
    wrong.wait_for()
    assert wrong.inner_text().strip() == (
        "This is not an image that can be read: choose a JPEG, PNG, TIFF, PGM, PPM, BMP, GIF, WebP, JPEG 2000 or DICOM"
        " file."
    )
    for name in ("image.png", "second.jpeg"):
        card(page, name).get_by_role("meter").first.wait_for()
    assert page.get_by_role("status").inner_text() == "2 images scored, 1 failed"
    page.get_by_role("button", name="Remove notes.jpeg").click()
    assert page.get_by_role("status").inner_text() == "2 images scored"
    page.get_by_role("button", name="Remove all").click()
    assert page.get_by_role("article").count() == 0


def test_kinds_of_images_that_browsers_show_and_do_not_show(page, site, shelf, tmp_path):
    picture = Image.open(shelf / "image.png").convert("L")
    for kind in ("BMP", "WEBP", "TIFF", "JPEG2000"):
        picture.save(tmp_path / f"{kind}.x", kind)
    page.goto(site)
    choose(page, *(tmp_path / f"{kind}.x" for kind in ("BMP", "WEBP", "TIFF", "JPEG2000")))
    for kind in ("BMP", "WEBP", "TIFF", "JPEG2000"):
        card(page, f"{kind}.x").get_by_role("meter").first.wait_for()
    for kind in ("BMP", "WEBP"):
        assert card(page, f"{kind}.x").locator(".preview").is_visible()
    for kind, name in (("TIFF", "TIFF"), ("JPEG2000", "JPEG 2000")):
        blank = card(page, f"{kind}.x").locator(".blank")
        assert blank.inner_text() == f"{name}: browsers do not show this kind of image. It is scored all the same."
    assert page.get_by_text("JPEG, PNG, TIFF, PGM, PPM, BMP, GIF, WebP, JPEG 2000 or DICOM, up to").is_visible()
    assert ".webp" in page.locator("#choose").get_attribute("accept").split(",")


def test_what_the_server_refuses_is_shown(page, site, shelf, tmp_path):
    half = tmp_path / "half.png"
    half.write_bytes((shelf / "image.png").read_bytes()[:300])
    page.goto(site)
    choose(page, half)
    alert = card(page, "half.png").get_by_role("alert")
    alert.wait_for()
    assert "the image cannot be read" in alert.inner_text()
    assert "Try again" not in alert.inner_text()


def test_an_image_over_the_limit_is_sent_smaller(page, behind_aws, shelf, monkeypatch):
    monkeypatch.setenv("MAX_BYTES", "400000")
    page.goto(behind_aws)
    page.get_by_text("up to 0.4 MB each").wait_for()
    choose(page, shelf / "large.png")
    image = card(page, "large.png")
    image.get_by_role("meter").first.wait_for()
    assert (
        "This image has 1.1 MB; the server takes up to 0.4 MB. It was sent smaller:"
        in image.locator(".notes").inner_text()
    )


def test_what_cannot_be_made_smaller_is_too_large(page, behind_aws, tmp_path, monkeypatch):
    monkeypatch.setenv("MAX_BYTES", "1000")
    (tmp_path / "image.dcm").write_bytes(bytes(128) + b"DICM" + bytes(2000))
    page.goto(behind_aws)
    page.get_by_text("up to 0.0 MB each").wait_for()
    choose(page, tmp_path / "image.dcm")
    alert = card(page, "image.dcm").get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().endswith("Save it smaller and try again.")


def test_a_server_that_is_down_and_comes_back(page, app, shelf):
    page.goto(app)
    page.get_by_text("cnn5").wait_for()
    page.context.set_offline(True)
    choose(page, shelf / "image.png")
    alert = card(page, "image.png").get_by_role("alert")
    alert.get_by_text("The server does not answer.").wait_for()
    page.context.set_offline(False)
    alert.get_by_role("button", name="Try again").click()
    card(page, "image.png").get_by_role("meter").first.wait_for()
    assert not alert.is_visible()


def test_a_server_that_is_down_from_the_start(page, app):
    page.route("**/metadata", lambda route: route.abort())
    page.goto(app)
    page.locator("#server").wait_for()
    assert page.get_by_role("alert").first.inner_text().startswith("The server does not answer.")


def test_a_busy_server_is_asked_again(page, app, shelf):
    asked = []

    def busy_once(route: Any) -> None:
        asked.append(route.request.method)
        if len(asked) == 1:
            route.fulfill(status=429, headers={"Retry-After": "1"}, body=json.dumps({"error": "too many"}))
        else:
            route.continue_()

    page.route("**/invocations", busy_once)
    page.goto(app)
    choose(page, shelf / "image.png")
    card(page, "image.png").get_by_role("meter").first.wait_for()
    assert asked == ["POST", "POST"]


def test_images_are_dropped_on_the_page(page, app, shelf):
    page.goto(app)
    page.evaluate(
        """async ([name, url]) => {
            const bytes = await (await fetch(url)).blob(), data = new DataTransfer();
            data.items.add(new File([bytes], name));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        ["dropped.svg", "icon.svg"],
    )
    card(page, "dropped.svg").get_by_role("alert").get_by_text("This is not an image").wait_for()


def test_it_works_by_keyboard_on_a_phone(browser, app, shelf):
    """390 px wide: nothing sticks out, and every control is reached with Tab and worked with Enter or Space."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    page = context.new_page()
    page.on(
        "filechooser", lambda _: None
    )  # before all keys: Chromium's interception of choosers takes a while to begin
    page.goto(app)
    tab_to(page, "#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files([str(shelf / "image.png"), str(shelf / "second.jpeg")])
    card(page, "second.jpeg").get_by_role("meter").first.wait_for()
    card(page, "image.png").get_by_role("meter").first.wait_for()
    tab_to(page, ".toggle")
    page.keyboard.press("Space")
    page.get_by_role("img", name=re.compile("Heat map of")).first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_a_foreign_page_gets_nothing(page, behind_aws, app, shelf):
    """The app has no CORS; the Lambda refuses other origins."""
    page.goto(app)
    for place in (f"{behind_aws}/metadata", f"{behind_aws}/invocations"):
        answer = page.context.request.post(place, headers={"Origin": "https://evil.test"}, data=b"x")
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
