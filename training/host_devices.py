"""One XLA device for each core, for programs of many independent runs.

XLA splits a single operation over threads, which pays for large ones. The networks here are small:
handing out a piece takes longer than computing it. Runs side by side need no such splitting:
each device takes some of them, on one thread (docs/performance.md).
"""

from __future__ import annotations

import os

_COUNT = "--xla_force_host_platform_device_count"
_THREADS = "--xla_cpu_multi_thread_eigen"
_POOL = "intra_op_parallelism_threads"
_OWN = (_COUNT, _THREADS, _POOL)


def enable_for(devices: int, overlap: bool) -> None:
    """Sets up what a run needs: its devices, and with overlap one more, on which it acts."""
    count = devices + overlap
    if count > 1:
        enable(count)


def enable(count: int | None = None) -> None:
    """Sets this up through the environment, before JAX uses its first device.

    Flags that are set already stay as they are. Accelerators are not affected.

    Args:
      count: of devices, or None for as many as there are cores.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _COUNT in flags:
        return
    added = f"{_COUNT}={count or cores()} {_THREADS}=false"
    os.environ["XLA_FLAGS"] = f"{flags} {added}".strip()


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def enable_one() -> None:
    """Sets up one device on one thread, for a process that is one of many."""
    os.environ["XLA_FLAGS"] = flags_for_one()


def flags_for_one() -> str:
    """XLA's flags for such a process; those that are set already are kept."""
    kept = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if not flag.startswith(_OWN)]
    return " ".join([*kept, f"{_COUNT}=1 {_THREADS}=false {_POOL}=1"])
