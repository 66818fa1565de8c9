"""`python -m thorax_launch`: the command `thorax`."""

import sys

from thorax_launch.cli import main

sys.exit(main())
