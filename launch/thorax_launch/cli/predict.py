"""Ask a model about films: a bundle in this process, a server by its URL, or a SageMaker endpoint by its name.

examples:
    python launch/predict.py runs/NAME/model film.jpeg
    python launch/predict.py http://127.0.0.1:8080 films/ --json
    python launch/predict.py my-endpoint film.dcm --explain maps/ --bucket my-bucket
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error or a film that failed (one line each on standard error), 2 a wrong command line, 130 stopped."""
    args = parser().parse_args(arguments)

    def work() -> int:
        from thorax_launch.clients import asker  # late: --help is instant
        from thorax_launch.predictions import predict

        return predict(asker(args.model, bucket=args.bucket), args.films, as_json=args.json, explain=args.explain, label=args.label, accept=args.accept)

    return flags.guarded(work)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    p.add_argument("model", metavar="MODEL", help="a bundle's folder, a URL, or the name of a SageMaker endpoint")
    p.add_argument("films", nargs="+", type=Path, metavar="FILM", help="films, or folders of films")
    p.add_argument("--json", action="store_true", help="a line of JSON per film instead of a table")
    p.add_argument("--explain", type=Path, metavar="DIR", help="write heat maps there: FILM.LABEL.png")
    p.add_argument("--label", default="", help="with --explain: of this label alone")
    p.add_argument("--accept", metavar="TYPE", help="print the answers as they come in this form, such as text/csv")
    p.add_argument("--bucket", metavar="NAME", help="S3 bucket for films over the payload limit; without it they are sent smaller")
    return p
