"""What a person sees of the project: terminals of two widths and pages of two widths, light and dark.

`prepared` makes all that is shown by the commands themselves, from drawn X-rays, in a minute.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from browser import chromium, looking
from hosting import free_port
from screens import Screen, on_screen
from shell import Shell
from walk import environment
from warm_python import warm_python

COLUMNS = (80, 120)
RECIPE = """
summary: normal or pneumonia, small
hyperparameters: {network: cnn5, image_shape: "1,64,64", epochs: EPOCHS, batch_size: 16, learning_rate: 0.002,
  bootstrap_samples: 200, threads: 1, num_workers: 0, seed: 0}
tune:
  strategy: random
  max_jobs: JOBS
  ranges:
    learning_rate: {min: 0.0003, max: 0.01, scale: log}
    weight_decay: {min: 0.00001, max: 0.1, scale: log}
    batch_size: {choices: [8, 16, 32]}
"""
SETTINGS = "{region: eu-central-1, bucket: my-bucket, role: 'arn:aws:iam::123456789012:role/thorax-execution'}\n"
IMAGES = "--train images/train --test images/test"
#: Name of a picture -> the command.
COMMANDS = {
    "help": "thorax --help",
    "check": "thorax prepare check suspect",
    "train": f"thorax train chest.yaml --local {IMAGES} --job-name SHOWN --set epochs=4",
    "runs": "thorax runs",
    "leaderboard": "thorax leaderboard search --local",
    "evaluate": "thorax evaluate first --data images/test",
    "predict": "thorax predict first images/test/PNEUMONIA",
    "dry-run": f"thorax train chest.yaml {IMAGES} --dry-run",
    "deploy-dry-run": "thorax deploy first --endpoint-name chest --dry-run",
    "error": "thorax train chest.yaml --local --train images/train --set learning_rat=1",
}


@dataclass
class Scene:
    """A folder with images, a job, a search, a check's page, and a server around the job's bundle.

    Attributes:
        place: the folder.
        environment: of commands in it.
        address: of the server.
        screens: those that `terminal` has made.
    """

    place: Path
    environment: dict[str, str]
    address: str
    screens: dict[tuple[str, int], Screen] = field(default_factory=dict)

    def terminal(self, name: str, columns: int, until: str | None = None) -> Screen:
        """The screen of one of COMMANDS."""
        if (name, columns) not in self.screens or until:
            command = COMMANDS[name].replace("SHOWN", f"shown-{columns}{'-bar' if until else ''}")
            shown = ["bash", "-c", f"echo '$ {command}'; {command}"]
            screen = on_screen(shown, self.environment, self.place, columns, until)
            if until:
                return screen
            self.screens[name, columns] = screen
        return self.screens[name, columns]

    @property
    def pages(self) -> dict[str, str]:
        """Name of a page -> its address."""
        data = self.place / "runs/first/output/data"
        files = {
            "report": data / "report.html",
            "scores": self.place / "scores.html",
            "check": self.place / "check.html",
            "profile": data / "profiler/profile.html",
        }
        return {**{name: file.as_uri() for name, file in files.items()}, "web": self.address}

    @property
    def plots(self) -> dict[str, Path]:
        """Name -> a picture that the project itself has made."""
        data = self.place / "runs/first/output/data"
        found = {"leaderboard": self.place / "board.png", "batch": data / "batch.png"}
        return {**found, **{f"report-{file.stem}": file for file in sorted(data.glob("*.png")) if file.stem != "batch"}}


@contextmanager
def prepared(folder: Path, images: int = 80, epochs: int = 3, jobs: int = 2) -> Iterator[Scene]:
    """The scene, made in `folder`.

    Args:
        images: drawn in all.
        epochs: of its trainings.
        jobs: of its search.
    """
    from thorax_launch.synthetic.radiographs import write_folders

    place, port = folder / "chest", free_port()
    place.mkdir()
    write_folders(place / "images", images=images)
    shutil.copytree(place / "images", place / "suspect")
    spoil(place / "suspect")
    (place / "chest.yaml").write_text(RECIPE.replace("EPOCHS", str(epochs)).replace("JOBS", str(jobs)))
    (place / "thorax.yaml").write_text(SETTINGS)
    with tempfile.TemporaryDirectory(prefix="warm") as warm, warm_python(Path(warm)) as bin:
        around = environment(folder, bin)
        with Shell(place, around) as shell:

            def run(command: str, codes: tuple[int, ...] = (0,)) -> None:
                written, code = shell.run(command)
                assert code in codes, written

            run("thorax prepare check suspect --html check.html", (0, 1))
            train = f"{IMAGES} --set profiler=true --set profiler_schedule=2,1,2 --set batch_size=4"
            run(f"thorax train chest.yaml --local --job-name first {train}")
            run("thorax evaluate first --data images/test --html scores.html")
            run(f"thorax tune chest.yaml --local --job-name search --set epochs=2 {IMAGES}")
            run("thorax leaderboard search --local --plot board.png")
            run(f"thorax deploy --local first --port {port} > server.log 2>&1 &")
            run(f"curl --silent --retry 60 --retry-delay 1 --retry-connrefused http://127.0.0.1:{port}/ping")
            yield Scene(place, around, f"http://127.0.0.1:{port}/")


def spoil(images: Path) -> None:
    """Gives the check something to find: a duplicate, a file that is no image."""
    first, second, *_ = sorted((images / "train" / "NORMAL").glob("*.jpeg"))
    other = images / "train" / "PNEUMONIA" / f"person900_virus_900{first.suffix}"
    other.write_bytes(first.read_bytes())
    second.with_name("IM-9999-0001.jpeg").write_bytes(second.read_bytes()[:400])


def shoot(browser: Any, address: str, width: int, scheme: str, act: Callable[[Any], None] | None = None) -> bytes:
    """A PNG of the whole page, after `act` has done something on it."""
    with looking(browser, address, width, scheme) as page:
        if act is not None:
            act(page)
        return bytes(page.screenshot(full_page=True))


def ask(images: list[Path]) -> Callable[[Any], None]:
    """Has the web page score images, and shows the first one's heat map."""

    def act(page: Any) -> None:
        page.get_by_label("Choose images").set_input_files([os.fspath(image) for image in images])
        for image in images:
            page.get_by_role("article", name=image.name).get_by_role("meter").first.wait_for()

    return act


__all__ = ["COLUMNS", "COMMANDS", "Scene", "ask", "chromium", "prepared", "shoot"]
