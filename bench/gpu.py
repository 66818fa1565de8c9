"""The GPU proof: tests on the GPU, and speed beside named peers, into gpu.md and gpu.json.

    python bench/gpu.py --out DIR [--wheels DIR] [--device cpu --small]

Needs no network and, besides torch and torchvision, few packages; what lacks leaves out the part that needs it. Each
part is a process with a time limit of its own, so that one that fails or hangs takes no other along. Exit code 0: every
part passed or was left out for a reason that is told; 1: one failed; 2: there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
PATHS = [str(ROOT / name) for name in ("bench", "source_dir", "launch")]
sys.path[:0] = PATHS
if TYPE_CHECKING:
    from gpukit.common import Figures, Kit
    from gpukit.report import Outcome


@dataclass(frozen=True)
class Part:
    """One part: its name, where its function is (module:function), and its seconds, at most."""

    name: str
    function: str
    seconds: float


#: In the order of their worth, images first: the others read them. On an H200 images took 18 s and files 118 s.
PARTS = (
    Part("images", "images:run", 40),
    Part("tests", "", 95),
    Part("files", "training:files", 125),
    Part("step", "training:step", 90),
    Part("scoring", "serving:run", 50),
    Part("http", "serving:http", 45),
    Part("memory", "training:memory", 35),
    Part("bare", "serving:bare", 60),
    Part("jpeg", "serving:jpeg", 20),
)


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=ROOT / "bench" / "results", help="gpu.md and gpu.json are written there")
    p.add_argument("--wheels", type=Path, metavar="DIR", help="wheels to install for this run, into a temporary folder")
    p.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal, with --small")
    p.add_argument("--small", action="store_true", help="tiny images, one process, seconds: does it run at all?")
    p.add_argument("--minutes", type=float, default=7.8, help="for all parts together, at most (default: 7.8)")
    p.add_argument("--parts", type=lambda text: text.split(","), help="some parts, with commas (default: all)")
    p.add_argument("--part", help=argparse.SUPPRESS)
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
    from gpukit import report

    began, outcomes, figures = time.monotonic(), [], []
    with TemporaryDirectory(prefix="gpu-") as scratch:
        folder = Path(scratch)
        if a.wheels:
            add_wheels(a.wheels, folder / "site")
        found = report.machine(a.device)
        print("; ".join(f"{name} {value}" for name, value in found.items()), flush=True)
        for part in PARTS:
            if a.parts and part.name not in (*a.parts, "images"):
                continue
            left = a.minutes * 60 - (time.monotonic() - began)
            outcomes.append(run_part(part, a, folder, min(part.seconds, left)))
            figures += read_figures(folder / f"{part.name}.jsonl")
            one = outcomes[-1]
            print(
                f"{one.name}: {one.status} in {one.seconds:.0f} s{': ' + one.reason if one.reason else ''}", flush=True
            )
            tests = [*report.read_tests(folder / "tests.xml"), *report.read_tests(folder / "alone.xml")]
            report.write(a.out, found, outcomes, tests, figures)
    print(report.text(found, outcomes, tests, figures))
    print(f"{time.monotonic() - began:.0f} s; written: {a.out / 'gpu.md'}, {a.out / 'gpu.json'}")
    return int(any(one.status not in report.GOOD for one in outcomes))


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

    if seconds < 10:
        return Outcome(part.name, "skipped", 0, f"no time is left of {a.minutes} minutes")
    began = time.monotonic()
    if part.name == "tests":
        status, reason = tests(a, folder, seconds)
    elif a.small:
        status, reason = guarded(part, a, folder)
    else:
        words = [__file__, "--part", part.name, "--folder", str(folder), "--device", a.device]
        status, reason = limited([sys.executable, *words], seconds, folder / f"{part.name}.log")
        if (told := folder / f"{part.name}.outcome").is_file():
            status, reason = json.loads(told.read_text(encoding="utf-8"))
    return Outcome(part.name, status, time.monotonic() - began, reason)


def limited(words: list[str], seconds: float, log: Path) -> tuple[str, str]:
    """Runs a process and those that it starts, at most for so long."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[:3] + [p for p in sys.path if "site" in p])}
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env=environment, start_new_session=True, cwd=ROOT)
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
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
    for name, mark, more in (("tests", "gpu and not whole_gpu", many), ("alone", "whole_gpu", [])):
        words = ["-m", "pytest", "-q", "-m", mark, f"--junitxml={folder / name}.xml", "-p", "no:cacheprovider", *more]
        left = seconds - (time.monotonic() - began)
        outcomes.append(limited([sys.executable, *words, "tests/gpu"], max(left, 10), folder / f"{name}.log"))
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

    from gpukit.common import SMALL, Kit, Sizes

    workers = max(1, min(16, len(os.sched_getaffinity(0)) - 1))
    kit = Kit(torch.device(a.device), SMALL if a.small else Sizes(workers=workers), folder, lambda line: print(line))
    if a.device == "cuda":
        kit = Kit(torch.device("cuda", 0), kit.sizes, folder, kit.say)
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
    except Exception as error:
        traceback.print_exc()
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "failed", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    return "passed", ""


def function_of(part: Part) -> Callable[[Kit], Figures]:
    import importlib

    module, _, name = part.function.partition(":")
    found: Callable[[Kit], Figures] = getattr(importlib.import_module(f"gpukit.{module}"), name)
    return found


def read_figures(file: Path) -> list[Any]:
    from gpukit.common import Figure

    return (
        [Figure(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    )


if __name__ == "__main__":
    sys.exit(main())
