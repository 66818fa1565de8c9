"""The documents' commands that ask nothing of AWS are executed, as they stand there."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from thorax_launch import cli

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(?:sh|bash)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
ROLE = "arn:aws:iam::123456789012:role/thorax-execution"


def harmless() -> list[str]:
    """Every documented `thorax iam` command, and every one with --dry-run but of `delete`, which looks at AWS."""
    found: dict[str, None] = {}
    for page in PAGES:
        for block in FENCE.findall(page.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(re.sub(r" > \S+", "", line), comments=True)
                dry = "--dry-run" in words and words[1] != "delete"
                if words[:1] == ["thorax"] and (dry or words[1] == "iam"):
                    found[shlex.join(words).replace("'$ROLE'", ROLE)] = None
    return list(found)


@pytest.fixture
def folders(offline: Path, light: Path, few: Path) -> None:
    """What the commands name: a bundle, images, wheels."""
    shutil.copytree(light, "runs/NAME/model")
    for folder in ("images", "IMAGES", "chest_xray"):
        shutil.copytree(few, folder)
    Path("packed").mkdir()
    Path("packed/one.rec").write_bytes(b"records")
    Path("wheels").mkdir()
    Path("wheels/a-1.0-py3-none-any.whl").write_bytes(b"wheel")
    Path("thorax.yaml").write_text(f"{{region: eu-central-1, bucket: MY-BUCKET, role: '{ROLE}'}}".lower())


def test_there_are_such_commands() -> None:
    assert len(harmless()) > 6


@pytest.mark.parametrize("text", harmless())
def test_a_documented_command_runs(text: str, folders: None, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("MY-BUCKET", "my-bucket") for word in shlex.split(text)]
    assert cli.main(words[1:]) == 0, capsys.readouterr().err
