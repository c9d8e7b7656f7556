"""Units in processes of this machine: one a core, or one a GPU."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from selftuning.studies.launchers.jobs import (
    Done,
    Event,
    Job,
    Launcher,
    Told,
    Work,
    WorkersLostError,
    failed,
)
from selftuning.training import host_devices

_SECONDS_BETWEEN_LOOKS = 0.5
_GPU = "CUDA_VISIBLE_DEVICES"
_told: Any = None  # in a worker: what is told goes in there


@contextmanager
def launcher(workers: int | None = None) -> Iterator[Launcher]:
    """Processes that end with this one, however it ends.

    Args:
      workers: how many; None for one a GPU if there are any that JAX can use, or else a core.
    """
    devices = gpus()
    workers = workers or len(devices) or host_devices.cores()
    context = multiprocessing.get_context("spawn")  # JAX has threads, which a fork would lose
    told, free = context.SimpleQueue(), context.SimpleQueue()
    for number in range(workers):
        free.put(devices[number % len(devices)] if devices else None)
    executor = ProcessPoolExecutor(workers, context, _begin_worker, (told, free))
    try:
        yield Launcher(workers, partial(_run, executor, told))
        executor.shutdown()
    finally:
        # After an interruption: what runs is not worth waiting for.
        executor.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()


def gpus() -> list[str]:
    """GPUs that JAX can use, as CUDA names them."""
    try:
        importlib.metadata.distribution("jax-cuda12-plugin")
    except importlib.metadata.PackageNotFoundError:
        return []
    if "cpu" in os.environ.get("JAX_PLATFORMS", ""):
        return []
    if _GPU in os.environ:
        return [name for name in os.environ[_GPU].split(",") if name]
    files = Path("/dev").glob("nvidia[0-9]*")
    return sorted(path.name.removeprefix("nvidia") for path in files)


def _run(
    executor: ProcessPoolExecutor, told: Any, function: Work, jobs: Sequence[Job]
) -> Iterator[Event]:
    """Calls a function of each job in some worker and reports what happens."""
    events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()

    def listen() -> None:
        while (event := told.get()) is not None:
            events.put(event)

    def ended(name: str, future: Future) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            events.put(error)
        elif error is not None:
            events.put(failed(name, error))
        else:
            events.put(Done(name, future.result()))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    with _interrupts_held():  # which workers, that begin here, keep: Ctrl-C is for this process
        futures = {job.unit.name: executor.submit(_call, function, job) for job in jobs}
    for name, future in futures.items():
        future.add_done_callback(partial(ended, name))
    left = len(jobs)
    while left:
        event = _next(events)
        if isinstance(event, BaseException):
            raise WorkersLostError("a process that ran a part of the study has died") from event
        left -= not isinstance(event, Told)
        yield event
    told.put(None)
    listener.join()


def _next(events: queue.SimpleQueue) -> Any:
    """Waits for an event; where another thread is given an interrupt, nothing else wakes this."""
    while True:
        with suppress(queue.Empty):
            return events.get(timeout=_SECONDS_BETWEEN_LOOKS)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Lets an interrupt wait; processes that begin in the meantime never have one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(told: Any, free: Any) -> None:
    """Prepares a worker, before JAX is imported in it."""
    global _told
    _told = told
    device = free.get()
    if device is None:
        host_devices.enable_one()
    else:
        os.environ[_GPU] = device
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(function: Work, job: Job) -> Any:
    def tell(part: float) -> None:
        _told.put(Told(job.unit.name, part))

    return function(job, tell)
