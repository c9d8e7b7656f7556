"""One XLA device for each core, for programs of many independent runs.

XLA splits a single operation over threads, which pays for large ones. The networks here are small:
handing out a piece takes longer than computing it. Runs side by side need no such splitting:
each device takes some of them, on one thread (docs/performance.md).
"""

from __future__ import annotations

import os

_COUNT = "--xla_force_host_platform_device_count"
_THREADS = "--xla_cpu_multi_thread_eigen"


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
