"""README's and the docs' shell lines for this machine are executed as they stand there, on a few tiny images.

Those that ask AWS run in tests/aws/test_documented_lines.py, dry-runs here; what is not executed has a reason in
documented.EXCEPTIONS. Trainings are made small by options that are added.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from documented import EXCEPTIONS, OWN_TESTS, PAGES, TRAINS, Line, furnish, lines, small
from hosting import free_port
from shell import Shell
from walk import environment
from warm_python import warm_python

FIRST = "thorax train pneumonia-resnet18 --local --train images/train --test images/test --job-name NAME"
#: Before a line that matches: what makes its output's place free, or what another program would have made.
BEFORE = {
    r"prepare pack \S+ packed/ --(?!verify)": "rm -rf packed",
    r"--split split\.csv": "thorax prepare split images/ --out split.csv --anew --validation 0.2 --test 0.2 --seed 1",
    r"--verify|prepare upload": "[ -e packed ] || thorax prepare pack images/ packed/ --size 32",
    r"--train packed/train": "[ -e packed/train ] || thorax prepare pack images/ packed/ --size 32",
    r"--predictions batch\.csv": "thorax batch --local runs/NAME/model --data IMAGES/test --out batch.csv",
    r"--model-dir out": "rm -rf out-job",
    r"--path-column Image ": "cp named.csv set/images.csv",
    r"--train coco": "rm -f coco/labels.csv",
    r"=predictions\.csv": "[ -e predictions.csv ] || cp runs/NAME/output/data/predictions.csv .",
    r"recipe new": "rm -f mine.yaml",
}


#: What a page calls it -> what it is called here.
NAMES = {
    r"--train DIR\b": "--train images/train",
    r"\bRECIPE\b": "coco-multilabel",
    r"\bPHOTOS\b": "COCO",
    r"sub/train --test kermany224/test": "images/train --test images/test",
    r"60/class --test 200": "6/class --test 4",
    r"--folds 5": "--folds 2",
}


@dataclass
class Desk:
    """The folder, and a shell in it.

    Attributes:
        place: the folder.
        shell: where lines run.
        port: the server's, in the place of 8080.
    """

    place: Path
    shell: Shell
    port: int

    def run(self, text: str) -> str | None:
        """Executes a line; what it wrote, where it failed."""
        for pattern, command in BEFORE.items():
            if re.search(pattern, text):
                self.shell.run(command)
        for pattern, name in NAMES.items():
            text = re.sub(pattern, name, text)
        text = text.replace("MY-BUCKET", "my-bucket").replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        if text.startswith(("thorax deploy --local", "uvicorn ")):
            return self.serve(text)
        text = small(text) if TRAINS.search(text) else text
        written, code = self.shell.run(text)
        failed = bool(code) and not (code == 1 and text.startswith("thorax prepare check"))  # 1: it has found errors
        return f"$ {text}\n{written}\nexit code {code}" if failed else None

    def serve(self, text: str) -> str | None:
        """Starts a server in the place of the last one."""
        self.shell.run("kill $server && wait $server")
        text = text.replace("8080", str(self.port)) if "8080" in text else f"{text} --port {self.port}"
        self.shell.run(f"{text} > server.log 2>&1 & server=$!")
        wait = f"curl --silent --fail --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:{self.port}/ping"
        _, code = self.shell.run(wait)
        return f"$ {text}\n{(self.place / 'server.log').read_text()}" if code else None


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("lines")
    place = folder / "place"
    place.mkdir()
    furnish(place)
    with tempfile.TemporaryDirectory(prefix="warm") as warm, warm_python(Path(warm)) as bin:
        around = environment(folder, bin) | {"BROWSER": "true", "AWS_DEFAULT_REGION": "eu-central-1"}
        with Shell(place, around) as shell:
            desk = Desk(place, shell, free_port())
            assert desk.run(f"{FIRST} --set debugging=true") is None
            for other in ("OTHER", "A", "B", "first", "second", "third"):
                shutil.copytree(place / "runs/NAME", place / "runs" / other)
            (place / "OTHER").mkdir()
            with tarfile.open(place / "OTHER/model.tar.gz", "w:gz") as archive:
                archive.add(place / "runs/NAME/model", ".")
            yield desk


def of(kind: str) -> list[Line]:
    pages = [page for page in PAGES if page.name not in OWN_TESTS]
    return list({line.text: line for page in pages for line in lines(page) if line.kind == kind}.values())


def test_every_exception_is_needed_and_has_a_reason():
    found = [line.text for line in of("exception")]
    needed = {start for start in EXCEPTIONS if any(text.startswith(start) for text in found)}
    assert needed == set(EXCEPTIONS) and all(EXCEPTIONS.values())


PARTS = {page: [line for line in of("here") if line.page == page] for page in dict.fromkeys(x.page for x in of("here"))}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PARTS)
def test_the_lines_of_a_page_work(page: str, desk: Desk):
    failed = [wrong for line in PARTS[page] if line.text not in AFTER_TRAINING and (wrong := desk.run(line.text))]
    desk.shell.run("kill $server && wait $server")
    assert not failed, "\n\n".join(failed)


#: Lines that look at what a training has left, which is slow.
AFTER_TRAINING = {"cat runs/watched/output/data/profiler/summary.md"}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("line", of("training"), ids=lambda line: line.text[:100])
def test_a_training_works(line: Line, desk: Desk):
    assert (wrong := desk.run(line.text)) is None, wrong
    if "--job-name watched" in line.text:
        assert desk.run(*AFTER_TRAINING) is None
