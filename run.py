"""The command line of a checkout: `python run.py` does what `selftuning` does."""

import sys

from selftuning.cli import main

if __name__ == "__main__":
    sys.exit(main())
