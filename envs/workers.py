"""Environments of the host in processes of their own, which step them at the same time.

A process can be ended, whatever its environments do. So this is where environments are stepped
that may hang.
"""

from __future__ import annotations

import contextlib
import itertools
import math
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
from selftuning.envs import stacks
from selftuning.envs.task import HostTask, TaskSpec
from selftuning.envs.vector import Busy, host_task


def in_workers(env: EnvSpec, num_envs: int, options: EnvSettings, workers: int) -> HostTask:
    """The task that `host_task` makes, number for number, stepped by several processes.

    It pays where a step of an environment takes longer than to send an observation from one
    process to another, about a tenth of a millisecond. The processes import what the environment
    needs anew. A Python script that trains must do so below `if __name__ == "__main__":`.

    Args:
      env: specification of the environment.
      num_envs: B.
      options: what is asked of the environments beyond their id. A step or reset that takes
        longer than `step_timeout`, or twice that, is ended.
      workers: processes, each with B / workers environments or one more.

    Raises:
      ConfigError: as `host_task`, or if there are more workers than environments.
      FailedEnvironmentError: in `reset` and `step`, as `host_task`, or if a process has ended or
        an environment takes too long.
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
        self._stack, stack = context.Pipe(duplex=False)
        self._busy, self._timeout = context.RawArray("q", 3), options.step_timeout
        make = cloudpickle.dumps(
            lambda busy: host_task(env, len(part), options, part, num_envs, busy)
        )
        arguments = (there, stack, self._busy, make)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        try:
            self._process.start()
        except RuntimeError:
            # A process that reads a script with no such condition begins all of it anew.
            raise SystemExit(1) from None
        there.close()
        stack.close()
        self._part, self._of = part, num_envs

    def send(self, name: str, argument: Any) -> None:
        try:
            self._here.send((name, argument))
        except OSError as error:
            raise self._ended() from error

    def answer(self) -> Any:
        self._wait()
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
        self._stack.close()

    def begin(self) -> TaskSpec:
        """What its environments are; ConfigError if the process could not begin."""
        try:
            return self.answer()
        except FailedEnvironmentError as error:
            if self._busy[0]:  # with a first reset
                raise
            hint = 'a script must train below `if __name__ == "__main__":` to have env_workers'
            raise ConfigError(f"env_workers: {error} before it began; {hint}") from error

    def _wait(self) -> None:
        """Waits for an answer, for as long as one environment after the other comes to its end."""
        before = tuple(self._busy)
        while math.isfinite(self._timeout) and not self._here.poll(self._timeout):
            now = tuple(self._busy)
            if now == before and now[0]:
                raise self._hangs()
            before = now

    def _hangs(self) -> FailedEnvironmentError:
        trace, place = stacks.asked(self._process, self._stack)
        self._process.kill()
        said = f"no answer in {self._timeout:g} s {place}"
        return FailedEnvironmentError(f"{self._which()}: {said}", trace)

    def _ended(self) -> FailedEnvironmentError:
        self._process.join(5.0)
        code = self._process.exitcode
        how = f"ended with exit code {code}"
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
            how += ", as the system does where memory is short" if code == -9 else ""
        return FailedEnvironmentError(f"{self._which()}: its process {how}")

    def _which(self) -> str:
        """The environment that is being stepped, and its step."""
        calls, number, step = self._busy
        if not calls:
            return f"environments {self._part.start} to {self._part.stop - 1} of {self._of}"
        return f"environment {number} of {self._of}, its step {step:,}"


def _serve(connection: Connection, stack: Connection, calls: Any, pickled: bytes) -> None:
    """What a process does: answers until it is told to close, or nobody is there any more."""
    # These are for the process that trains, which may have something to save.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    stacks.write_when_asked(stack)

    def busy(number: int, step: int) -> None:
        calls[:] = calls[0] + 1, number, step

    try:
        make: Callable[[Busy], HostTask] = pickle.loads(pickled)
        task = make(busy)
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
    if isinstance(error, FailedEnvironmentError):
        return FailedEnvironmentError(str(error), error.details)
    if isinstance(error, ValueError):
        return type(error)(str(error))
    return FailedEnvironmentError(f"{type(error).__name__}: {error}")
