"""`python -m thorax.optimize BUNDLE --data DIR`: `thorax optimize` where thorax_launch is not installed."""

import sys

from thorax.optimize.command_line import main

if __name__ == "__main__":
    sys.exit(main(program="python -m thorax.optimize"))
