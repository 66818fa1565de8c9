"""docs/get-the-data.md: every command of the page runs on a miniature imitation of its set.

A command that trains here is run as its dry run on AWS: the same recipe, hyperparameters and images; nothing is sent.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import images
import originals
import published
from thorax.dataset.known_sets import SETS
from thorax_launch import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "get-the-data.md"
FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: What ends with exit code 1 on a miniature: counts of the whole set, and duplicates that imitations have.
TROUBLED = ("verify", "check")
#: Recipe -> labels of the imitation, which has not all that the recipe names.
LACKING = {"padchest": "scoliosis,pleuraleffusion", "vindr": "Nodule/Mass", "chexpert": "Edema", "mimic-cxr": "Edema"}
LACKING |= {"nih-sample": "Effusion,Mass"}


def commands() -> list[str]:
    """Each command line of the page."""
    lines = (line for block in FENCE.findall(PAGE.read_text(encoding="utf-8")) for line in block.splitlines())
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if line.startswith("thorax ")]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with an imitation of each set, in the folder that the page calls it."""
    root = tmp_path_factory.mktemp("sets")
    originals.write_workspace(root)
    for folder, name in (
        ("chexpert", "chexpert"),
        ("mimic-cxr", "mimic_cxr"),
        ("padchest", "padchest"),
        ("rsna", "rsna"),
        ("vindr", "vindr-physionet"),
        ("nih-sample", "nih-sample"),
    ):
        (root / folder).mkdir()
        published.SETS[name][1](root / folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("THORAX_CACHE", str(root / "cache"))
        assert cli.main(["prepare", "verify", "mimic-cxr", "--make", "mimic-cxr/SHA256SUMS.txt"]) == 0
        assert cli.main(["prepare", "verify", "chest_xray", "--make", "FILE.md5"]) == 0
        images.put(root / "DIR" / "00000001_000.png")
        published.table(root / "DIR" / "Data_Entry_2017.csv", ["Image Index,x", "00000001_000.png,1"])
        (root / "downloads").mkdir()
        for file in ("images_001.tar.gz", "val2017.zip"):
            (root / "downloads" / file).write_bytes(b"a miniature")
        yield root


@pytest.mark.parametrize("text", commands())
def test_a_command_of_the_page_runs(text: str, sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(text.replace("MY-BUCKET", "my-bucket").replace("DIR --list", "chest_xray --list"))[1:]
    if words[0] == "train" and "--local" in words:
        words = [word for word in words if word != "--local"] + ["--dry-run"]
        words += ["--set", f"labels={LACKING[words[1]]}"] if words[1] in LACKING else []
    if words[:2] == ["prepare", "verify"] and words[-1] == "DIR":
        words[-1] = "mimic-cxr"
    if words[1] == "check" and words[-1] in LACKING:
        words += ["--labels", LACKING[words[-1]]]
    code = cli.main(words)
    said = capsys.readouterr()
    if words[1] in TROUBLED and code == 1:
        assert not said.err, said.err  # found trouble, and no mistake
        return
    assert code == 0, said.err


@pytest.mark.parametrize("name", SETS)
def test_each_known_set_is_on_the_page(name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert name in text or name == "coco-train2017"
    for part, count in SETS[name].counts.items():
        assert f"{count:,}" in text or (name, part) == ("chexpert", ""), (name, part)


def test_a_whole_miniature_is_whole(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["prepare", "verify", "padchest", "--set", "padchest"]) == 0
    assert cli.main(["prepare", "verify", "nih", "--set", "chestxray14", "--partial"]) == 0
    assert cli.main(["prepare", "verify", "coco", "--set", "coco-val2017", "--partial"]) == 0
