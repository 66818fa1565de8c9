"""`thorax deploy` from this checkout."""

import sys

import _start  # noqa: F401  the packages of this checkout
from thorax_launch.cli.deploy import main

if __name__ == "__main__":
    sys.exit(main())
