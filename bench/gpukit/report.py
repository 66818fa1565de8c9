"""gpu.md and gpu.json: the machine, the parts, the tests and the figures with their ratios."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpukit.common import Figure

#: The exit code is 1 where a part ended otherwise.
GOOD = ("passed", "skipped")


@dataclass(frozen=True)
class Outcome:
    """How a part or a test ended.

    Attributes:
        status: passed, skipped, failed or timed out.
        seconds: how long it took.
        reason: why it did not pass.
        text: all that is known of a failure.
    """

    name: str
    status: str
    seconds: float
    reason: str = ""
    text: str = ""


@dataclass
class Report:
    """What gpu.md and gpu.json hold."""

    machine: dict[str, str]
    parts: list[Outcome] = field(default_factory=list)
    tests: list[Outcome] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    @classmethod
    def of(cls, device: str) -> Report:
        """Of this machine, without any part."""
        return cls(machine(device))

    @property
    def good(self) -> bool:
        return all(part.status in GOOD for part in self.parts)

    def add(self, part: Outcome, folder: Path) -> None:
        """Takes a part, and what it left in the folder: figures, or outcomes of tests."""
        self.parts.append(part)
        self.figures += [Figure(**values) for values in _lines(folder / f"{part.name}.jsonl") if "table" in values]
        self.tests += [Outcome(**values) for values in _lines(folder / f"{part.name}.jsonl") if "table" not in values]

    def write(self, out: Path) -> None:
        """Writes both files."""
        content = {"command": " ".join(sys.argv), **asdict(self)}
        out.mkdir(parents=True, exist_ok=True)
        (out / "gpu.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (out / "gpu.md").write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """gpu.md."""
        lines = ["# GPU proof", "", *(f"- {name}: {value}" for name, value in self.machine.items())]
        lines += ["", "| Part | Outcome | Seconds | Why |", "|---|---|---|---|"]
        lines += [f"| {p.name} | {p.status} | {p.seconds:.0f} | {_cell(p.reason)} |" for p in self.parts]
        if self.tests:
            count = {kind: sum(test.status == kind for test in self.tests) for kind in ("passed", "failed", "skipped")}
            lines += ["", "## Tests", "", ", ".join(f"{n} {kind}" for kind, n in count.items()), ""]
            lines += [f"- {t.name}: {t.status}: {_cell(t.reason)}" for t in self.tests if t.status != "passed"]
        for table in dict.fromkeys(figure.table for figure in self.figures):
            lines += ["", f"## {table}", "", "| What | Side | Figure | Ours / it | Target | Note |", f"|{'---|' * 6}"]
            lines += [_row(figure, self.figures) for figure in self.figures if figure.table == table]
        return "\n".join([*lines, ""])


def _lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; the last may be cut off, where its writer was stopped."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        with suppress(ValueError):
            found.append(json.loads(line))
    return found


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
