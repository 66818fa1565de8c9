"""How the user started this process, so that every command that is shown is one that works there."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from thorax_launch.paths import LAUNCH


def command(name: str) -> str:
    """`thorax NAME`; `python PATH/NAME.py` where a script of launch/ started this process."""
    script = Path(sys.argv[0])
    if script.suffix == ".py" and script.absolute().parent.resolve() == LAUNCH:
        return f"python {shlex.quote(str(script.with_name(f'{name}.py')))}"
    return f"thorax {name}"


def examples(document: str) -> str:
    """The document, its `python launch/NAME.py` as the user started this process."""
    return re.sub(r"python launch/([\w-]+)\.py", lambda found: command(found[1]), document)
