"""README and docs/ are true: their commands parse, their links lead somewhere, the names in them exist."""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
from pathlib import Path

import pytest

from thorax.config import TrainingConfig
from thorax_launch import cli
from thorax_launch.hyperparameters import checked
from thorax_launch.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(?:sh|bash)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
#: What stands in the documents where a user's own values go.
PLACES = {
    "RECIPE": "demo",
    "N": "1",
    "H": "1",
    "IMAGE...": "image.png",
    "check|stats|list|split|pack|coco|nih|upload": "check",
}


def commands(page: Path) -> list[list[str]]:
    """The words of every command line in the page's shell blocks, comments left out, continued lines joined; and of
    the trainings in its tables."""
    found: list[list[str]] = []
    if page.name == "from-the-originals.md":
        return found  # test_from_the_originals.py runs its commands
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        for text in block.replace("\\\n", " ").splitlines():
            for one in re.sub(r" > \S+", "", text).split(" && "):
                words = shlex.split(one, comments=True)
                if words:
                    found.append([PLACES.get(word, word) for word in words])
    rows = (line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|"))
    texts = (text for line in rows for text in re.findall("`(thorax train [^`]+)`", line))
    return found + [[PLACES.get(word, word) for word in shlex.split(text)] for text in texts]


ALL = [(page.name, words) for page in PAGES for words in commands(page)]
COMMANDS = [pytest.param(words, id=f"{page}: {' '.join(words)}"[:110]) for page, words in ALL if words[0] == "thorax"]


class Parsed(Exception):  # noqa: N818  no error
    """The command line is right; nothing has been done yet."""


@pytest.fixture
def only_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = argparse.ArgumentParser.parse_args

    def parse(self, *args, **kwargs):
        raise Parsed(real(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_is_understood(words, only_parsed, capsys):
    with pytest.raises(Parsed) as parsed:
        cli.main(words[1:])
    given = vars(parsed.value.args[0])
    if recipe := given.get("recipe"):
        Recipe.load(recipe)
    if settings := given.get("set"):
        checked([tuple(setting.split("=", 1)) for setting in settings], "--set")


def test_there_are_commands():
    assert len(COMMANDS) > 50
    assert {param.values[0][1] for param in COMMANDS} >= set(cli.COMMANDS) - {"follow"}


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("words", [words for _, words in ALL if words[0] == "python"], ids=" ".join)
def test_a_file_that_python_runs_is_there(words):
    script = words[2] if words[1] == "-m" else words[1]
    assert words[1] == "-m" or (ROOT / script).is_file()
    hyperparameters = [
        (name[2:], value)
        for name, value in itertools.pairwise(words)
        if script.endswith("train_model.py") and name[:2] == "--"
    ]
    paths = {"train", "test", "validation", "model-dir", "help"}
    given = {name.replace("-", "_"): value for name, value in hyperparameters if name not in paths}
    assert TrainingConfig.parse(given)


def test_make_targets_are_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {words[1] for _, words in ALL if words[0] == "make" and len(words) > 1}
    named |= set(re.findall(r"`make ([a-z]+)", "".join(page.read_text(encoding="utf-8") for page in PAGES)))
    assert named >= {"demo", "test", "check", "bench"}
    assert named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        to = page if not file else page.parent / file
        assert to.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", to.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                target
            )


def test_files_named_in_the_documents_are_there():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`((?:launch|bench|docs|source_dir)/[\w./-]+\.(?:py|md|yaml))", text))
    assert len(named) > 5
    assert [name for name in sorted(named) if "NAME" not in name and not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_named_in_the_documents_are_there(page):
    for module in re.findall(r"\bthorax(?:_launch)?/[a-z_/]+\.py", page.read_text(encoding="utf-8")):
        assert any((ROOT / folder / module).is_file() for folder in ("source_dir", "launch")), module
