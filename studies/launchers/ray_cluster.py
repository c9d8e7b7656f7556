"""Units as tasks of a Ray cluster: of this machine, or a real one by its address.

Every node needs this project at the same version, and whatever the environment of the study needs.
Ray runs a task again whose worker or node is lost.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.studies.launchers.jobs import Done, Event, Job, Launcher, Told, Work, failed
from selftuning.training import host_devices, provenance

_RETRIES = 10  # of a task whose worker is lost; one that always kills its worker ends some day
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_CONNECT = 10.0
# What workers have to know of JAX before they import it.
_VARIABLES = (
    "JAX_COMPILATION_CACHE_DIR",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES",
    "JAX_PLATFORMS",
)


@contextmanager
def launcher(workers: int | None = None, address: str | None = None) -> Iterator[Launcher]:
    """A cluster, joined for as long as the context lasts.

    Args:
      workers: tasks at a time on this machine; None for one a core, or as the cluster has it.
      address: of a cluster that is there; None for one on this machine, made for the study.

    Raises:
      ConfigError: if there is no cluster at the address.
    """
    if address is not None and workers is not None:
        raise not_allowed("workers", workers, "left out: a cluster has as many as it has")
    _check_reached(address)
    options: dict[str, Any] = {"address": address, "runtime_env": _environment()}
    if address is None:
        options |= {"num_cpus": workers or host_devices.cores(), "include_dashboard": False}
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"address: cannot join the Ray cluster at {address}: {error}") from error
    try:
        has = ray.cluster_resources()
        kind = "GPU" if has.get("GPU") else "CPU"
        needs = {"num_gpus": 1} if kind == "GPU" else {"num_cpus": 1}
        yield Launcher(max(1, int(has.get(kind, 1))), partial(_run, needs))
    finally:
        ray.shutdown()


def _check_reached(address: str | None) -> None:
    """Raises ConfigError if nothing listens at HOST:PORT, which Ray would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return  # "auto", or none
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"address: cannot join the Ray cluster at {address}: {error}") from error


def _environment() -> dict[str, Any]:
    """Of the workers: where modules are, and one thread for each."""
    path = [os.getcwd(), str(provenance.ROOT), *(entry for entry in sys.path if entry)]
    variables = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    variables["XLA_FLAGS"] = host_devices.flags_for_one()
    return {"env_vars": variables | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}}


def _run(needs: dict[str, Any], function: Work, jobs: Sequence[Job]) -> Iterator[Event]:
    """Calls a function of each job somewhere in the cluster and reports what happens."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ear: Any = ray.remote(_Ear).options(num_cpus=0, scheduling_strategy=here).remote()
    call = ray.remote(_call).options(max_retries=_RETRIES, **needs)
    names = {call.remote(function, job, ear): job.unit.name for job in jobs}
    while names:
        ready, _ = ray.wait(list(names), timeout=_SECONDS_BETWEEN_LOOKS)
        yield from ray.get(ear.heard.remote())
        for reference in ready:
            yield _outcome(names.pop(reference), reference)


def _outcome(name: str, reference: Any) -> Event:
    try:
        return Done(name, ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        return failed(name, error.cause or error)
    except ray.exceptions.RayError as error:  # lost more often than it may be
        return failed(name, error)


class _Ear:
    """Hears from workers how far they are; an actor beside the process that asks."""

    def __init__(self) -> None:
        self._told: dict[str, Told] = {}

    def tell(self, told: Told) -> None:
        self._told[told.unit] = told

    def heard(self) -> list[Told]:
        """The latest of each unit since it was asked last."""
        told, self._told = list(self._told.values()), {}
        return told


def _call(function: Work, job: Job, ear: Any) -> Any:
    return function(job, lambda part: ear.tell.remote(Told(job.unit.name, part)))
