"""Which processes make up one training run, as the command line says it."""

from __future__ import annotations

from typing import NamedTuple

from selftuning.configs.errors import ConfigError, not_allowed, require

TIMEOUT = 300.0  # seconds, if nobody says


class Cluster(NamedTuple):
    """How a process finds the others; None where the scheduler of the cluster says so.

    Attributes:
      coordinator: HOST:PORT of the first process.
      processes: how many there are.
      process: number of this one, from 0.
      timeout: seconds in which all of them are to be there.
    """

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None
    timeout: float = TIMEOUT


def cluster(
    distributed: bool,
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    timeout: float | None = None,
) -> Cluster | None:
    """Checks the flags; None for a run of one process.

    Raises:
      ConfigError: naming the flag, the value it has and the values it may have.
    """
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    named = [name for name, value in given.items() if value is not None]
    if not distributed:
        named += [] if timeout is None else ["join_timeout"]
        if named:
            raise ConfigError(f"{named[0]}: used with --distributed only")
        return None
    timeout = TIMEOUT if timeout is None else timeout
    require(0 < timeout <= 86400, "join_timeout", timeout, "seconds above 0, at most 86400")
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if named and missing:
        raise ConfigError(f"{named[0]}: is not enough by itself; add {', '.join(missing)}")
    if coordinator is None or processes is None or process is None:
        return Cluster(timeout=timeout)
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise not_allowed("coordinator", coordinator, "HOST:PORT")
    require(processes >= 1, "processes", processes, "at least 1")
    allowed = f"a whole number between 0 and {processes - 1}"
    require(0 <= process < processes, "process", process, allowed)
    return Cluster(coordinator, processes, process, timeout)
