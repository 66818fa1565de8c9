"""The GPU proof: tests on the GPU, and speed beside named peers, into gpu.md and gpu.json.

    python bench/gpu.py --out DIR [--wheels DIR] [--device cpu --small]

Needs no network and, besides torch and torchvision, few packages; what lacks leaves out the part that needs it. Each
part is a process with a time limit of its own, so that one that fails or hangs takes no other along; what it had
measured by then is kept, and both files are written anew after each part. Exit code 0: every part passed or was left
out for a reason that is told; 1: one failed or ran out of time; 2: there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / name) for name in ("bench", "source_dir", "launch")]
sys.path[:0] = PATHS
from parts import Part, limited, share  # noqa: E402

if TYPE_CHECKING:
    from gpukit.common import Figures, Kit
    from gpukit.report import Outcome


#: In the order of their worth, images first: the others read them. Together they fill the default of --minutes; what
#: one saves the next may use. On an H200 images took 18 s, all rows of files 118 s and the first four of step 50 s.
PARTS = (
    Part("images", "images:run", 30),
    Part("tests", "", 90),
    Part("files", "training:files", 112),
    Part("step", "training:step", 72),
    Part("scoring", "serving:run", 36),
    Part("http", "serving:http", 36),
    Part("memory", "training:memory", 44),
    Part("bare", "serving:bare", 40),
    Part("jpeg", "serving:jpeg", 8),
)
#: A part that is given less is left out: torch alone takes some seconds.
LEAST = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="gpu.md and gpu.json are written there")
    p.add_argument("--wheels", type=Path, metavar="DIR", help="wheels to install for this run, into a temporary folder")
    p.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal, with --small")
    p.add_argument("--small", action="store_true", help="tiny images, one process, seconds: does it run at all?")
    p.add_argument("--minutes", type=float, default=7.8, help="for all parts together, at most (default: 7.8)")
    p.add_argument("--parts", type=lambda text: text.split(","), help="some parts, with commas (default: all)")
    p.add_argument("--part", help=argparse.SUPPRESS)
    p.add_argument("--seconds", type=float, default=float("inf"), help=argparse.SUPPRESS)
    p.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    a = p.parse_args(arguments)
    if a.parts and (unknown := sorted(set(a.parts) - {part.name for part in PARTS})):
        p.error(f"--parts {','.join(unknown)}: there are {', '.join(part.name for part in PARTS)}")
    if a.part:
        return child(a)
    import torch

    if a.small:
        torch.set_num_threads(1)
    if a.device == "cuda" and not torch.cuda.is_available():
        print("no GPU that torch can use; for a rehearsal without one: --device cpu --small", file=sys.stderr)
        return 2
    return whole(a)


def whole(a: argparse.Namespace) -> int:
    """All parts, then the report."""
    from gpukit.report import Report

    ends = time.monotonic() + a.minutes * 60
    parts = [part for part in PARTS if not a.parts or part.name in (*a.parts, "images")]
    with TemporaryDirectory(prefix="gpu-") as scratch:
        folder = Path(scratch)
        if a.wheels:
            add_wheels(a.wheels, folder / "site")
        report = Report.of(a.device)
        print("; ".join(f"{name} {value}" for name, value in report.machine.items()), flush=True)
        for k, part in enumerate(parts):
            one = run_part(part, a, folder, share(parts[k:], ends - time.monotonic()))
            print(
                f"{one.name}: {one.status} in {one.seconds:.0f} s{': ' + one.reason if one.reason else ''}", flush=True
            )
            report.add(one, folder)
            report.write(a.out)
    print(report.text())
    print(f"{time.monotonic() - ends + a.minutes * 60:.0f} s; written: {a.out / 'gpu.md'}, {a.out / 'gpu.json'}")
    return int(not report.good)


def add_wheels(wheels: Path, site: Path) -> None:
    """Installs what lies in a folder, without the network, for this run alone."""
    files = sorted(str(file) for file in wheels.glob("*.whl"))
    words = ["--no-index", "--no-deps", "--no-compile", "--quiet", "--target", str(site), *files]
    done = subprocess.run([sys.executable, "-m", "pip", "install", *words], capture_output=True, text=True)
    print(f"wheels: {len(files)} installed" if not done.returncode else f"wheels: {done.stderr.strip()[-300:]}")
    sys.path.append(str(site))


def run_part(part: Part, a: argparse.Namespace, folder: Path, seconds: float) -> Outcome:
    """One part, in a process of its own; with --small in this one."""
    from gpukit.report import Outcome

    if seconds < LEAST:
        return Outcome(part.name, "skipped", 0, f"no time is left of {a.minutes} minutes")
    began = time.monotonic()
    if part.name == "tests":
        status, reason = tests(a, folder, seconds)
    elif a.small:
        status, reason = guarded(part, a, folder)
    else:
        words = [__file__, "--part", part.name, "--folder", str(folder), "--device", a.device]
        words += ["--seconds", f"{seconds - 1:.1f}"]  # it ends by itself, and leaves out what does not fit
        status, reason = in_process(words, seconds + 2, folder / f"{part.name}.log")
        if (told := folder / f"{part.name}.outcome").is_file():
            status, reason = json.loads(told.read_text(encoding="utf-8"))
    return Outcome(part.name, status, time.monotonic() - began, reason)


def in_process(words: list[str], seconds: float, log: Path) -> tuple[str, str]:
    """(status, reason) of a process that runs at most for so long."""
    code = limited([sys.executable, *words], seconds, log)
    last = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()][-4:]
    if code is None:
        return "timed out", f"after {seconds:.0f} s; last: {' / '.join(last)}"
    return ("passed", "") if code == 0 else ("failed", f"exit code {code}: {' / '.join(last)}")


def tests(a: argparse.Namespace, folder: Path, seconds: float) -> tuple[str, str]:
    """pytest over tests/gpu: side by side where pytest-xdist is there, then those that need the whole card."""
    import importlib.util as util

    if a.device == "cpu":
        return "skipped", "they need a GPU"
    if lacking := [name for name in ("pytest", "hypothesis") if util.find_spec(name) is None]:
        return "skipped", f"{', '.join(lacking)} is not installed"
    began, outcomes = time.monotonic(), []
    # A test at a time each, so that those that start processes, which come first, run side by side.
    many = ["-n", "8", "--dist", "load", "--maxschedchunk", "1"] if util.find_spec("xdist") else []
    for name, mark, part, more in (("tests", "gpu and not whole_gpu", 0.75, many), ("alone", "whole_gpu", 1.0, [])):
        words = ["-m", "pytest", "-q", "-m", mark, "-p", "gpukit.testlog", "-p", "no:cacheprovider", *more]
        words += ["--testlog", str(folder / "tests.jsonl"), "tests/gpu"]
        left = seconds * part - (time.monotonic() - began)
        outcomes.append(in_process(words, left, folder / f"{name}.log"))
        print((folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-6000:], flush=True)
    return next((one for one in outcomes if one[0] != "passed"), outcomes[0])


# -- In the part's own process ---------------------------------------------------------------------------------------


def child(a: argparse.Namespace) -> int:
    part = next(part for part in PARTS if part.name == a.part)
    outcome = guarded(part, a, a.folder)
    (a.folder / f"{part.name}.outcome").write_text(json.dumps(outcome), encoding="utf-8")
    return 0


def guarded(part: Part, a: argparse.Namespace, folder: Path) -> tuple[str, str]:
    """Writes each figure of a part as it comes; the part's status and the reason."""
    import torch

    from gpukit.common import SMALL, Kit, Sizes, reason_of

    workers = max(1, min(16, len(os.sched_getaffinity(0)) - 1))
    device = torch.device("cuda", 0) if a.device == "cuda" else torch.device("cpu")
    kit = Kit(device, SMALL if a.small else Sizes(workers=workers), folder, ends=time.monotonic() + a.seconds)
    try:
        with (folder / f"{part.name}.jsonl").open("a", encoding="utf-8") as file:
            for figure in function_of(part)(kit):
                print(f"  {figure.what}; {figure.side}: {figure.value} {figure.unit} {figure.note}", flush=True)
                file.write(json.dumps(asdict(figure)) + "\n")
                file.flush()
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith(("thorax", "gpukit")):
            raise
        return "skipped", f"{error.name} is not installed"
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return "failed", reason_of(error)
    return ("failed", "; ".join(kit.problems)) if kit.problems else ("passed", "")


def function_of(part: Part) -> Callable[[Kit], Figures]:
    import importlib

    module, _, name = part.what.partition(":")
    found: Callable[[Kit], Figures] = getattr(importlib.import_module(f"gpukit.{module}"), name)
    return found


if __name__ == "__main__":
    sys.exit(main())
