"""What workers do in tests of failures; a module of its own, so that they can import it."""

import os

from selftuning.studies import execute


def execute_job(job, tell):
    """Fails for one unit, and runs the others."""
    if job.unit.name == "bmg-0":
        raise RuntimeError("no luck")
    return execute.run(job.unit, job.checkpoint, tell)


def execute_well(job, tell):
    """Runs a unit."""
    return execute.run(job.unit, job.checkpoint, tell)


def die(job, tell):
    """Ends the worker, as the kernel does where memory is short."""
    os._exit(9)
