"""Pictures of all that a person sees, to be looked at: python docs/screenshots.py [FOLDER].

Terminals of 80 and 120 columns, report, check page, profiler page and web page at 1200 and 390 pixels, each light and
dark, and the plots. Needs Chromium and the extra dev.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/helpers", "tests", "source_dir", "launch")]

from browser import SCHEMES, WIDTHS, chromium, looking, problems  # noqa: E402  after sys.path
from gallery import COLUMNS, COMMANDS, Scene, ask, prepared, shoot  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", nargs="?", type=Path, default=Path("screenshots"))
    p.add_argument("--images", type=int, default=60, help="drawn in all (default: 60)")
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--jobs", type=int, default=2, help="of the search (default: 2)")
    p.add_argument("--only", default="", help="pictures whose name holds this")
    args = p.parse_args(arguments)
    args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, prepared(Path(folder), args.images, args.epochs, args.jobs) as scene:
        take(scene, args.folder, args.only)
    return 0


def take(scene: Scene, folder: Path, only: str = "") -> None:
    """Writes the pictures whose name holds `only`, and prints what is wrong with them as far as a machine sees it."""
    for name, plot in scene.plots.items():
        shutil.copy(plot, folder / f"plot-{name}.png")
    images = sorted((scene.place / "images/test").glob("*/*.*"))[::3][:3]
    with chromium() as browser:
        for columns in COLUMNS:
            for name in COMMANDS:
                if only not in f"terminal-{name}":
                    continue
                screen = scene.terminal(name, columns)
                for scheme in SCHEMES:
                    page = folder / "screen.html"
                    page.write_text(screen.page(scheme == "dark"), encoding="utf-8")
                    with looking(browser, page.absolute().as_uri(), 10 * columns, scheme) as shown:
                        shown.locator("pre").screenshot(path=folder / f"terminal-{name}-{columns}-{scheme}.png")
                    page.unlink()
        for name, address in scene.pages.items():
            if only not in f"page-{name}":
                continue
            for width in WIDTHS:
                for scheme in SCHEMES:
                    act = ask(images) if name == "web" else None
                    picture = shoot(browser, address, width, scheme, act)
                    (folder / f"page-{name}-{width}-{scheme}.png").write_bytes(picture)
                    with looking(browser, address, width, scheme) as page:
                        if act:
                            act(page)
                        for line in problems(page):
                            print(f"{name} at {width}, {scheme}: {line}")
    print(f"wrote {len(list(folder.glob('*.png')))} pictures to {folder}")


if __name__ == "__main__":
    sys.exit(main())
