"""`python -m selftuning`: the command line."""

import sys

from selftuning.cli import main

if __name__ == "__main__":
    sys.exit(main())
