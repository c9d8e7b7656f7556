"""One agent on several devices: each steps a part of the environments, all hold the same agent.

The program is the one for a single device. What its arguments are placed on says how it is
divided: XLA lets each device work on the environments that it has, and adds the exchange of what
is summed over all of them (gradients, spreads of advantages, distances). The numbers are those of
one device but for the order of summation. Devices may be those of several processes and machines.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from selftuning.configs.cluster import Cluster
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.settings import RunSettings

_AXIS = "environments"


class Placement(NamedTuple):
    """Where arrays of a run are.

    Attributes:
      num_envs: B, of all devices together.
      everywhere: a copy on each device.
      divided: [B, ...], each device has its part.
      trajectories: [T, B, ...], likewise.
    """

    num_envs: int
    everywhere: NamedSharding
    divided: NamedSharding
    trajectories: NamedSharding

    def of_environments(self, shapes: Any) -> Any:
        """Where each leaf of the state of environments is: divided if it has an axis B."""

        def of(leaf):
            return self.divided if leaf.shape[:1] == (self.num_envs,) else self.everywhere

        return jax.tree.map(of, shapes)

    def of_copies(self, shapes: Any) -> Any:
        """`everywhere` for each leaf."""
        return jax.tree.map(lambda _: self.everywhere, shapes)

    def divide(self, trajectory: Any) -> Any:
        """Puts a trajectory [T, B / processes, ...] of this process's environments in place."""
        if self.divided.num_devices == 1:
            return trajectory  # where a program puts its arguments all at once
        make = jax.make_array_from_process_local_data
        return jax.tree.map(lambda x: make(self.trajectories, np.asarray(x)), trajectory)


def placement(settings: RunSettings) -> Placement:
    """The placement on the first `settings.devices` devices.

    Raises:
      ConfigError: if there are fewer, or one process would have nothing to do.
    """
    found = jax.devices()
    if settings.devices > len(found):
        allowed = f"at most {len(found)}, the {found[0].platform} devices that JAX finds"
        raise not_allowed("devices", settings.devices, allowed)
    if jax.process_count() > 1 and settings.devices != len(found):
        allowed = f"{len(found)}, all those of {jax.process_count()} processes"
        raise not_allowed("devices", settings.devices, allowed)
    mesh = Mesh(np.array(found[: settings.devices]), (_AXIS,))
    specs = PartitionSpec(), PartitionSpec(_AXIS), PartitionSpec(None, _AXIS)
    return Placement(settings.num_envs, *(NamedSharding(mesh, spec) for spec in specs))


def acting_device() -> jax.Device:
    """A CPU beside the first device, which acts while that one learns.

    A device runs one program after the other: on the same one, to act would be to wait.

    Raises:
      ConfigError: if there is none.
    """
    found = [x for x in jax.local_devices(backend="cpu") if x != jax.local_devices()[0]]
    if not found:
        allowed = (
            'false with one CPU device: jax.config.update("jax_num_cpu_devices", 2) comes first'
        )
        raise not_allowed("agent.overlap", "true", allowed)
    return found[0]


def here(tree: Any) -> Any:
    """Copies on one device of this process of arrays that are everywhere."""

    def copy(x):
        one = isinstance(x, jax.Array) and len(x.sharding.device_set) > 1
        return x.addressable_data(0) if one else x

    return jax.tree.map(copy, tree)


def whole(tree: Any) -> Any:
    """The pytree with NumPy arrays, each of them whole, of whatever processes have parts of it.

    All processes must call it together.
    """

    def one(x):
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return x
        return multihost_utils.process_allgather(x, tiled=True)

    return jax.tree.map(one, tree)


def process_key(key: jax.Array) -> jax.Array:
    """A key of this process alone; the key itself where there is only one."""
    count, index = jax.process_count(), jax.process_index()
    return jax.random.fold_in(key, index) if count > 1 else key


def gathered(tree: Any, axis: int) -> Any:
    """NumPy arrays of all processes, joined along an axis."""
    if jax.process_count() == 1:
        return tree
    parts = multihost_utils.process_allgather(tree)  # [processes, ...]
    return jax.tree.map(lambda x: np.concatenate(list(x), axis), parts)


def from_first(content: bytes | None) -> bytes:
    """The bytes that the first process has, in all of them."""
    size = multihost_utils.broadcast_one_to_all(np.int64(len(content or b"")))
    own = np.frombuffer(content, np.uint8) if content else np.zeros(int(size), np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(own)).tobytes()


def any_process(flag: bool) -> bool:
    """Whether the flag is set in any process: they go on or stop together."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def join(cluster: Cluster) -> None:
    """Connects this process with the others, and waits until all are there.

    To be called before JAX uses its first device.

    Raises:
      ConfigError: if nobody says where they are, or they do not come in time.
    """
    waiting: Future[None] = Future()
    # JAX waits where no signal reaches it, and its own timeout ends the process with a dump. So it
    # waits in a thread, longer than we do.
    threading.Thread(target=_connect, args=(cluster, waiting), daemon=True).start()
    try:
        waiting.result(cluster.timeout)
    except TimeoutError:
        # The thread stays there: an end in good order would wait for it, and JAX would complain.
        atexit.register(os._exit, 2)
        where = f" at {cluster.coordinator}" if cluster.coordinator else ""
        number = f"the {cluster.processes} processes" if cluster.processes else "the processes"
        raise ConfigError(
            f"distributed: {number} did not all meet{where} within {cluster.timeout:g} seconds; "
            "is the first one there and can it be reached? --join-timeout waits longer"
        ) from None
    except (ValueError, RuntimeError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"distributed: {reason}; where no scheduler tells, name the processes with "
            "--coordinator, --processes and --process"
        ) from error


def _connect(cluster: Cluster, waiting: Future[None]) -> None:
    longer = math.ceil(cluster.timeout) + 60
    where = cluster.coordinator, cluster.processes, cluster.process
    try:
        jax.distributed.initialize(*where, initialization_timeout=longer)
    except BaseException as error:
        waiting.set_exception(error)
    else:
        waiting.set_result(None)
