"""Requests as they were, to compare with. UPDATE_GOLDEN=1 pytest tests/aws writes them anew; read the difference."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "aws" / "golden"


#: Folders that are named after the code in them, which changes more often than the requests.
_CODE = re.compile(r"/(source|tools)/[0-9a-f]{16}/")


def check(name: str, request: dict[str, Any]) -> None:
    file = FOLDER / f"{name}.json"
    text = _CODE.sub(r"/\1/CODE/", json.dumps(request, indent=1) + "\n")
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert file.is_file(), f"{file.name} is missing: UPDATE_GOLDEN=1 pytest tests/aws writes it"
    assert text == file.read_text(), f"the request is not that of {file.name}"
