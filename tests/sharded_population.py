"""Runs a tiny population and writes its rewards: for tests that need another number of devices.

Usage: python -m tests.sharded_population OUT.npz [one device a core].
"""

import sys

if len(sys.argv) > 2:
    from selftuning.training import host_devices

    host_devices.enable()

import jax
import numpy as np

from selftuning.benchmarks.cartpole import settings_for
from selftuning.studies import population

if __name__ == "__main__":
    settings = settings_for("bmg", steps=2000)
    # Three runs, which two devices cannot share evenly, in several chunks.
    runs = population.run(settings, [3, 4, 5], {"gamma": [0.5, 0.9, 0.95]}, progress=print)
    gamma = runs.hyperparameters["gamma"]
    np.savez(sys.argv[1], reward=runs.reward, gamma=gamma, devices=jax.device_count())
