"""Chromium for pictures of pages, and what a machine can see wrong in a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
WIDTHS = (1200, 390)
SCHEMES = ("light", "dark")

#: Words that are broken, texts that are cut off, stand out of the page, or cannot be told from what is behind them (WCAG 2: 4.5, large 3).
PROBLEMS = """() => {
  const found = [], page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) found.push(`the page is ${page.scrollWidth} wide, seen are ${page.clientWidth}`);
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const scale = text => text.startsWith('color(') ? 255 : 1;
  const rgba = text => { const [r, g, b, a = 1] = numbers(text.replace('color(srgb', '')); const k = scale(text); return [r * k, g * k, b * k, a]; };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = colour => { const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = element => {
    const above = [];
    for (let e = element; e; e = e.parentElement) {
      const style = getComputedStyle(e);
      if (style.backgroundImage !== 'none') return null;
      const colour = rgba(style.backgroundColor);
      if (colour[3]) above.push(colour);
      if (colour[3] === 1) break;
    }
    const dark = getComputedStyle(page).colorScheme.includes('dark') && matchMedia('(prefers-color-scheme: dark)').matches;
    return above.reduceRight((below, top) => over(top, below), dark ? [18, 18, 18] : [255, 255, 255]);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, text = node.textContent.trim(), element = node.parentElement;
    if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true})) continue;
    if (['SCRIPT', 'STYLE', 'OPTION', 'TITLE'].includes(element.tagName)) continue;
    const style = getComputedStyle(element), range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect(), short = text.slice(0, 40);
    if (box.width < 2 || box.height < 2) continue;
    for (let e = element; e; e = e.parentElement) {
      const s = getComputedStyle(e), b = e.getBoundingClientRect();
      if (b.width <= 2) break;  // for screen readers
      if (['auto', 'scroll'].includes(s.overflowX)) break;
      if (['hidden', 'clip'].includes(s.overflowX) && box.right > b.right + 1) { found.push(`cut off: ${short}`); break; }
      if (e === document.body && box.right > page.clientWidth + 1) found.push(`out of the page: ${short}`);
    }
    for (const word of node.textContent.matchAll(/[A-Za-z]{4,}/g)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      const tops = new Set([...range.getClientRects()].map(one => Math.round(one.top)));
      if (tops.size > 1) found.push(`broken: ${word[0]}`);
    }
    const ground = element.closest('svg') ? null : behind(element);
    if (ground) {
      const ink = rgba(style.color), [a, b] = [light(over(ink, ground)), light(ground)].sort((x, y) => y - x);
      const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && +style.fontWeight >= 700);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < (large ? 3 : 4.5)) found.push(`contrast ${ratio.toFixed(2)}: ${short}`);
    }
  }
  return [...new Set(found)];
}"""


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
    found: list[str] = page.evaluate(PROBLEMS)
    return found
