"""Put a bundle behind an address: on this machine with --local, under one of three servers. Ctrl-C answers what it has begun, then stops.

examples:
    python launch/deploy.py --local runs/NAME/model
    python launch/deploy.py --local runs/NAME/model --server ray --port 8081
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import _path  # noqa: F401  puts source_dir on the path
from thorax.errors import ThoraxError

#: Each is launch/local/serve_NAME.py.
SERVERS = ("app", "ray", "torchserve")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 stopped, 1 an error (told in the last line), 2 a wrong command line."""
    args = parser().parse_args(arguments)
    if not args.local:
        print("error: this version serves on this machine only; add --local", file=sys.stderr)
        return 2
    try:
        server = importlib.import_module(f"local.serve_{args.server}")  # late: --help is instant
        return int(server.serve(args.bundle, args.port))
    except ThoraxError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the server was up, or after it had answered everything
        return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("bundle", type=Path, metavar="BUNDLE", help="the model folder of a finished job, such as runs/NAME/model")
    p.add_argument("--local", action="store_true", help="serve on this machine, at 127.0.0.1")
    p.add_argument("--server", choices=SERVERS, default="app", help="app: uvicorn (default); ray: Ray Serve, as AWS's image; torchserve: as AWS's older image")
    p.add_argument("--port", type=int, default=8080, metavar="N", help="default: 8080; 0: a free one")
    return p


if __name__ == "__main__":
    sys.exit(main())
