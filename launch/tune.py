"""`thorax tune` from this checkout."""

import sys

import _start  # noqa: F401  the packages of this checkout
from thorax_launch.cli.tune import main

if __name__ == "__main__":
    sys.exit(main())
