"""The old name of `python -m thorax.tracking.health`."""

import sys

from thorax.errors import deprecated
from thorax.tracking.health.__main__ import main

if __name__ == "__main__":
    deprecated("python -m thorax.tracking.debugger", "python -m thorax.tracking.health")
    sys.exit(main(sys.argv[1:]))
