"""Names of jobs, as SageMaker takes them: letters, digits and hyphens, 63 at most."""

from __future__ import annotations

import re
from datetime import UTC, datetime

LONGEST = 63


def clean(name: str, longest: int = LONGEST) -> str:
    """The name with hyphens for what AWS does not take, cut where it must be; "thorax" where nothing is left."""
    return re.sub("[^a-zA-Z0-9]", "-", name).strip("-")[:longest].strip("-") or "thorax"


def dated(name: str, longest: int = LONGEST) -> str:
    """The clean name, and the time."""
    return f"{clean(name, longest - 14)}-{datetime.now(UTC):%y%m%d-%H%M%S}"
