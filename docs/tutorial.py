"""Executes docs/tutorial.md: python docs/tutorial.py [PAGE] [--update].

Prints what is not as the page shows it, exit code 1; with --update the page is corrected instead.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/helpers", "tests", "source_dir", "launch")]

from pages import corrected, differences  # noqa: E402  after sys.path
from walk import walking  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 the page is true, or has been corrected; 1 it is not."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("page", nargs="?", type=Path, default=ROOT / "docs" / "tutorial.md")
    p.add_argument("--update", action="store_true", help="write the real outputs into the page")
    args = p.parse_args(arguments)
    text = args.page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder, walking(Path(folder)) as run:
        wrong = differences(text, run)
    if args.update:
        args.page.write_text(corrected(text, wrong), encoding="utf-8")
        print(f"{args.page}: {len(wrong)} outputs written")
        return 0
    print("\n\n".join(map(str, wrong)) or f"{args.page} is true")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
