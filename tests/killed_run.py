"""A run that kills itself, for `test_training_going_on`.

Usage: python -m tests.killed_run OUT BACKEND SECONDS

It trains as `train` does, and is killed so many seconds after training began: by SIGKILL, which no
program can do anything about. Exit code 0 if it was at its end before.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import selftuning as st
from selftuning.training import compilation_cache
from tests.small_runs import SMALL

SETTINGS = SMALL | {"steps": 40_000, "rollout_length": 32, "checkpoint_every": 0.02}


def train(out: Path, backend: str, **more):
    steps = SETTINGS["steps"] if backend == "jax" else 6000
    settings = SETTINGS | {"steps": steps, "eval_every": steps // 5, "backend": backend}
    return st.train("CartPole", out=out, seed=3, **settings | more)


if __name__ == "__main__":
    compilation_cache.enable()
    compilation_cache.tell_jax()
    out, backend, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    timers = []

    def begin(_):
        if not timers:  # at the first chunk
            timers.append(threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)))
            timers[0].start()

    train(out, backend, callback=begin)
    for timer in timers:
        timer.cancel()
