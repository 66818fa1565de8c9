"""`thorax optimize`: int8 for a bundle; also `python -m thorax.optimize`, which needs no launcher."""

from __future__ import annotations

from thorax.optimize import command_line
from thorax_launch.invocation import examples


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line on standard error), 2 a wrong command line, 130 stopped."""
    p = command_line.parser()
    p.description = examples(p.description or "")
    return command_line.run(p, arguments)
