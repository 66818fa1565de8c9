"""`thorax evaluate`: scores a bundle on labelled images; also `python -m thorax.scoring`, which needs no launcher."""

from thorax.scoring.command_line import main, parser

__all__ = ["main", "parser"]
