"""Environments of the host in processes of their own, which step them at the same time."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import pickle
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import jax
import numpy as np
from gymnasium.envs.registration import EnvSpec

from selftuning.configs.errors import ConfigError, FailedEnvironmentError, require
from selftuning.configs.settings import EnvSettings
from selftuning.envs.task import HostTask, TaskSpec
from selftuning.envs.vector import host_task


def in_workers(env: EnvSpec, num_envs: int, options: EnvSettings, workers: int) -> HostTask:
    """The task that `host_task` makes, number for number, stepped by several processes.

    It pays where a step of an environment takes longer than to send an observation from one
    process to another, about a tenth of a millisecond. The processes import what the environment
    needs anew. A Python script that trains must do so below `if __name__ == "__main__":`.

    Args:
      env: specification of the environment.
      num_envs: B.
      options: what is asked of the environments beyond their id.
      workers: processes, each with B / workers environments or one more.

    Raises:
      ConfigError: as `host_task`, or if there are more workers than environments.
      FailedEnvironmentError: in `reset` and `step`, as `host_task`, or if a process has ended.
    """
    require(workers <= num_envs, "env_workers", workers, f"at most {num_envs}, num_envs")
    ends = [num_envs * i // workers for i in range(workers + 1)]
    parts = [range(a, b) for a, b in itertools.pairwise(ends)]
    made: list[_Worker] = []

    def close() -> None:
        for worker in made:
            worker.close()

    def ask(name: str, arguments: list[Any]) -> list[Any]:
        """All are asked before the first one is heard."""
        for worker, argument in zip(made, arguments, strict=True):
            worker.send(name, argument)
        return [worker.answer() for worker in made]

    try:
        made.extend(_Worker(env, options, part, num_envs) for part in parts)
        specs = [worker.begin() for worker in made]
    except BaseException:
        close()
        raise

    def reset(seed: int) -> np.ndarray:
        return np.concatenate(ask("reset", [seed] * workers))

    def step(action: np.ndarray) -> Any:
        actions = np.asarray(action)
        steps = ask("step", [actions[part.start : part.stop] for part in parts])
        return jax.tree.map(lambda *x: np.concatenate(x), *steps)

    return HostTask(specs[0], num_envs, reset, step, close)


class _Worker:
    """A process with some of the environments, and the way to it."""

    def __init__(self, env: EnvSpec, options: EnvSettings, part: range, num_envs: int):
        # A fork of a process in which JAX has threads may hang.
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        make = cloudpickle.dumps(lambda: host_task(env, len(part), options, part, num_envs))
        self._process = context.Process(target=_serve, args=(there, make), daemon=True)
        try:
            self._process.start()
        except RuntimeError:
            # A process that reads a script with no such condition begins all of it anew.
            raise SystemExit(1) from None
        there.close()
        self._what = f"environments {part.start} to {part.stop - 1} of {num_envs}"

    def send(self, name: str, argument: Any) -> None:
        try:
            self._here.send((name, argument))
        except OSError as error:
            raise self._ended() from error

    def answer(self) -> Any:
        try:
            result = self._here.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it has ended already
            self._here.send(("close", None))
        self._process.join(5.0)
        self._process.kill()
        self._here.close()

    def begin(self) -> TaskSpec:
        """What its environments are; ConfigError if the process could not begin."""
        try:
            return self.answer()
        except FailedEnvironmentError as error:
            hint = 'a script must train below `if __name__ == "__main__":` to have env_workers'
            raise ConfigError(f"env_workers: {error} before it began; {hint}") from error

    def _ended(self) -> FailedEnvironmentError:
        self._process.join(5.0)
        code = self._process.exitcode
        return FailedEnvironmentError(f"{self._what}: their process ended with exit code {code}")


def _serve(connection: Connection, pickled: bytes) -> None:
    """What a process does: answers until it is told to close, or nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that trains
    try:
        task: HostTask = pickle.loads(pickled)()
        connection.send(task.spec)
    except Exception as error:
        connection.send(_sendable(error))
        return
    functions: dict[str, Callable[[Any], Any]] = {"reset": task.reset, "step": task.step}
    # Where the process that trains has been killed there is nobody to tell anything.
    with contextlib.suppress(EOFError, OSError):
        while (asked := connection.recv())[0] != "close":
            name, argument = asked
            try:
                result = functions[name](argument)
            except Exception as error:
                result = _sendable(error)
            connection.send(result)
    task.close()


def _sendable(error: BaseException) -> Exception:
    """An error that has no cause, and that any process can read."""
    if isinstance(error, (FailedEnvironmentError, ValueError)):
        return type(error)(str(error))
    return FailedEnvironmentError(f"{type(error).__name__}: {error}")
