"""A worker that writes down what it begins where, and waits; a module that workers can import."""

import time

import ray

from selftuning.studies import execute


def run_job(job, tell):
    """Runs a unit, after the file `go` is there beside the checkpoints."""
    directory = job.checkpoint.parent.parent
    with (directory / "begun.log").open("a", encoding="utf-8") as log:
        log.write(f"{job.unit.name} {ray.get_runtime_context().get_node_id()}\n")
    while not (directory / "go").exists():
        time.sleep(0.05)
    return execute.run(job.unit, job.checkpoint, tell)
