"""run.py with a checkpoint at every point, in its workers too: they import this module as well.

Usage: python -m tests.study_with_checkpoints study [flags].
"""

import sys

import run
from selftuning.studies import execute

execute._SECONDS_BETWEEN_CHECKPOINTS = 0.0

if __name__ == "__main__":
    sys.exit(run.main())
