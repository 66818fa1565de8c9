"""gpu.md and gpu.json: the machine, the parts, the tests and the figures with their ratios."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gpukit.common import Figure

#: A part's time limit and outcome; the exit code is 1 where one is none of these.
GOOD = ("passed", "skipped")


@dataclass(frozen=True)
class Outcome:
    """How a part ended: passed, skipped, failed or timed out; why; and how long it took."""

    name: str
    status: str
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Test:
    """One test: passed, skipped or failed, and why."""

    name: str
    status: str
    seconds: float
    reason: str = ""


def machine(device: str) -> dict[str, str]:
    """What the figures belong to."""
    import PIL
    import torch
    import torchvision

    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "Pillow": PIL.__version__,
        "CPU": f"{_cpu()}, {len(os.sched_getaffinity(0))} cores",
    }
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {
            "GPU": f"{torch.cuda.device_count()} x {card.name}, {card.total_memory / 2**30:.0f} GiB",
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
            "driver": _driver(),
        }
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def _driver() -> str:
    try:
        words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(words, capture_output=True, text=True, timeout=20).stdout.split("\n")[0].strip()
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


def read_tests(junit: Path) -> list[Test]:
    """The tests of pytest's --junitxml; none where there is no such file."""
    if not junit.is_file():
        return []
    tests = []
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        status, reason = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                status, reason = "failed", (child.text or child.get("message") or "").strip()
            elif child.tag == "skipped":
                status, reason = "skipped", child.get("message") or ""
        name = f"{(case.get('classname') or '').rpartition('.')[2]}::{case.get('name')}"
        tests.append(Test(name, status, float(case.get("time") or 0), reason))
    return tests


def write(
    out: Path, found: dict[str, str], parts: Sequence[Outcome], tests: Sequence[Test], figures: Sequence[Figure]
) -> None:
    """Writes both files."""
    content: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "machine": found,
        "parts": [asdict(part) for part in parts],
        "tests": [asdict(test) for test in tests],
        "figures": [asdict(figure) for figure in figures],
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "gpu.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text(text(found, parts, tests, figures), encoding="utf-8")


def text(found: dict[str, str], parts: Sequence[Outcome], tests: Sequence[Test], figures: Sequence[Figure]) -> str:
    """gpu.md."""
    lines = ["# GPU proof", "", *(f"- {name}: {value}" for name, value in found.items())]
    lines += ["", "| Part | Outcome | Seconds | Why |", "|---|---|---|---|"]
    lines += [f"| {p.name} | {p.status} | {p.seconds:.0f} | {_cell(p.reason)} |" for p in parts]
    if tests:
        count = {kind: sum(test.status == kind for test in tests) for kind in ("passed", "failed", "skipped")}
        lines += ["", "## Tests", "", ", ".join(f"{n} {kind}" for kind, n in count.items()), ""]
        lines += [f"- {t.name}: {t.status}: {_cell(t.reason)}" for t in tests if t.status != "passed"]
    for table in dict.fromkeys(figure.table for figure in figures):
        lines += [
            "",
            f"## {table}",
            "",
            "| What | Side | Figure | Ours / it | Target | Note |",
            "|---|---|---|---|---|---|",
        ]
        lines += [_row(figure, figures) for figure in figures if figure.table == table]
    return "\n".join([*lines, ""])


def _row(figure: Figure, figures: Sequence[Figure]) -> str:
    value = "none" if figure.value is None else f"{figure.value:,.{_digits(figure.value)}f} {figure.unit}"
    cells = (figure.what, figure.side, value, _ratio(figure, figures), figure.target, _cell(figure.note))
    return f"| {' | '.join(cells)} |"


def _digits(value: float) -> int:
    return 0 if value >= 100 else 1 if value >= 10 else 2


def _ratio(figure: Figure, figures: Sequence[Figure]) -> str:
    """How many times as fast ours is: of the same `what` and unit, its first side."""
    if figure.side.startswith(("ours", "our ")) or figure.value is None:
        return ""
    ours = [f for f in figures if (f.table, f.what, f.unit) == (figure.table, figure.what, figure.unit)]
    first = next((f.value for f in ours if f.side.startswith("ours") and f.value), None)
    return "" if first is None or not figure.value else f"{first / figure.value:.2f}x"


def _cell(reason: str) -> str:
    return " ".join(reason.replace("|", "/").split())[:400]
