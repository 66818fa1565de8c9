"""`python -m thorax.scoring BUNDLE --data DIR ...`: `thorax evaluate` where thorax_launch is not installed."""

import sys

from thorax.scoring.command_line import main

if __name__ == "__main__":
    sys.exit(main(program="python -m thorax.scoring"))
