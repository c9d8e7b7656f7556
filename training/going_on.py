"""A run that was not at its end: what its directory knows of it, and whether it may go on."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from selftuning.configs import files, trust
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.settings import RunSettings
from selftuning.envs import given
from selftuning.training import checkpoints, history, provenance, run_directory, saving
from selftuning.training.checkpoints import Checkpoint

HISTORY = "history"  # of a run, beside its checkpoints
_ABOUT = "run"  # of a checkpoint
# What may be other than before: the first is raised to train for longer, and the rest changes no
# number, or what is done about one that is none.
_FREE = ("steps", "env_workers", "devices", "eval_episodes", "on_divergence")
_FLAGS = {
    "tuning.method": "meta",
    "tuning.optimizer": "meta_optimizer",
    "tuning.learning_rate": "meta_learning_rate",
    "tuning.epsilon": "meta_epsilon",
}


class Before(NamedTuple):
    """Where a run is that goes on.

    Attributes:
      leg: environment steps at which its present number of steps was asked for, from where its
        chunks are counted.
      seconds: that training took so far.
      compile_seconds: that compiling took.
      wall_seconds: all that passed.
      metrics: bytes of metrics.jsonl that belong to it.
      history: what of its history does.
      evaluations: environment steps -> mean of greedy episodes.
      steps: that were asked for.
      code: version that wrote it.
      environments: of the host, as `envs.kept` has them; an empty text where they begin anew, and
        otherwise their digest.
      begun: environment steps at which the episode of each environment began; empty in files of
        earlier versions.
    """

    leg: int
    seconds: float
    compile_seconds: float
    wall_seconds: float
    metrics: int
    history: history.Mark
    evaluations: dict[int, float]
    steps: int
    code: str
    environments: str = ""
    begun: tuple[int, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As `about` of a checkpoint."""
        return {_ABOUT: self._asdict() | {"evaluations": list(self.evaluations.items())}}


class Found(NamedTuple):
    """A run in a directory that goes on.

    Attributes:
      file: its last checkpoint that is whole; None if it had saved nothing yet.
      before: where it is; None likewise.
      chunks: all that it had recorded until then, in order.
    """

    file: Checkpoint | None = None
    before: Before | None = None
    chunks: Sequence[history.Chunk] = ()

    def environments(self) -> bytes | None:
        """Those of the host that were kept; None if there are none.

        Raises:
          ConfigError: if they are missing or damaged.
        """
        if self.file is None or self.before is None or not self.before.environments:
            return None
        path = saving.path_of_environments(self.file.path, self.env_steps)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"environments: cannot read {path}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != self.before.environments:
            raise ConfigError(
                f"environments: {path} is damaged: it is not what its checkpoint knows"
            )
        return content

    def best(self) -> Checkpoint | None:
        """Of the best agent that its evaluations have found, if there were any.

        Raises:
          ConfigError: if it is missing or damaged.
        """
        found = self.before.evaluations if self.before else {}
        known = [(mean, steps) for steps, mean in found.items() if not math.isnan(mean)]
        if not known or self.file is None:
            return None
        _, steps = max(known)
        if self.file.env_steps == steps:
            # It may have been killed before this one became the best in its directory too.
            saving.keep_best(self.file.path)
        file = checkpoints.read(self.file.path.with_name(checkpoints.BEST))
        if file.env_steps != steps:
            raise ConfigError(f"checkpoint: {file.path} is not the best agent, of step {steps:,}")
        return file

    @property
    def env_steps(self) -> int:
        """Environment steps that are done."""
        return self.file.env_steps if self.file else 0


def path_of_history(directory: Path) -> Path:
    """Where a run directory keeps it."""
    return checkpoints.path_in(directory).parent / HISTORY


def find(
    directory: Path | None, settings: RunSettings, say: Callable[[str], object]
) -> Found | None:
    """The run that a directory holds and that these settings go on with; None if it has none.

    Args:
      directory: of the run; None for a new one.
      settings: that were asked for.
      say: shows a line to the user.

    Raises:
      ConfigError: if it holds a run of other settings, or one that is at its end, or one that
        cannot go on; or if there is something else.
    """
    if directory is None or not run_directory.holds_run(directory):
        run_directory.check(directory)
        return None
    _check_trust(directory, files.plain(settings))
    old = files.load(directory / files.NAME, settings.extensions)
    _check_same(directory, old, settings)
    found = _last(directory, say)
    file, before = found.file, found.before
    if file is None or before is None:
        if (directory / run_directory.SUMMARY).exists():
            raise ConfigError(
                f"out: {directory} has a run whose checkpoints are gone; bring them back, or name "
                "a new directory"
            )
        return found
    if file.env_steps >= settings.steps and _finished(directory):
        raise ConfigError(
            f"out: {directory} has a run that is finished, after {file.env_steps:,} steps; raise "
            "steps to train it further, or name a new directory"
        )
    if before.code != (now := provenance.code_version()):
        say(f"note: {directory} was begun by selftuning {before.code}, and this is {now}")
    return found


def settings_of(directory: Path | None, extensions: Sequence[Any] = ()) -> RunSettings | None:
    """Those of the run in a directory; None if there is none.

    Args:
      directory: of the run.
      extensions: of the user's own that the file could not hold.

    Raises:
      ConfigError: if they cannot be read, or name modules that nobody vouches for.
    """
    if directory is None or not run_directory.holds_run(directory):
        return None
    _check_trust(directory, {})
    return files.load(directory / files.NAME, extensions)


def _check_trust(directory: Path, named: Mapping[str, Any]) -> None:
    path = directory / files.NAME
    trust.check(files.read(path), path, False, trust.IMPORT, named)


def last_whole(directory: Path) -> Path | None:
    """The last checkpoint of a run that is whole; None if there is none."""
    try:
        file = _last(directory, lambda line: None).file
    except ConfigError:  # which the process that reads it will say
        return None
    return file and file.path


def _check_same(directory: Path, old: RunSettings, new: RunSettings) -> None:
    """Raises ConfigError for the first setting that is another one than before."""
    before, now = (dict(_leaves(files.plain(x.settled))) for x in (old, new))
    for name in {**before, **now}:
        if name == "env" and given.same(old.env, new.env):
            continue
        if name not in _FREE and before.get(name) != now.get(name):
            was, here = before.get(name, "left out"), now.get(name, "left out")
            called = _FLAGS.get(name, re.sub(r"^(tuning|agent|environment)\.", "", name))
            called = re.sub(r"^hyperparameters\.(\w+)\.(\w+)$", r"\2 of \1", called)
            raise ConfigError(
                f"out: {directory} has a run with {called} {was}, not {here}; name a new "
                "directory, or leave out all settings to go on with that run"
            )
    if new.steps < old.steps:
        raise not_allowed("steps", new.steps, f"at least {old.steps}, those of {directory}")


def _leaves(data: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _last(directory: Path, say: Callable[[str], object]) -> Found:
    """The run at its last checkpoint that is whole, with its history."""
    problem: ConfigError | None = None
    for path in saving.newest_first(directory):
        try:
            file = checkpoints.read(path)
            before = _before(file)
            chunks = list(history.read(path_of_history(directory), before.history))
        except ConfigError as error:
            problem = problem or error
            continue
        if problem is not None:
            say(f"note: {problem}; going on from the checkpoint before")
        return Found(file, before, chunks)
    if problem is not None:
        raise problem
    return Found()


def _before(file: Checkpoint) -> Before:
    said = file.about.get(_ABOUT)
    if said is None:
        raise ConfigError(
            f"checkpoint: {file.path} has no run to go on with: it was written by selftuning "
            f"{file.origin.version}, or has an agent alone"
        )
    try:
        evaluations = {int(steps): float(mean) for steps, mean in said["evaluations"]}
        mark = history.Mark(*said["history"])
        if type(mark.size) is not int or mark.size < 0:
            raise ValueError(f"{mark.size!r} is no size")
        begun = tuple(map(int, said.get("begun", ())))
        return Before(**said | {"evaluations": evaluations, "history": mark, "begun": begun})
    except (LookupError, TypeError, ValueError) as error:
        raise ConfigError(f"checkpoint: {file.path} does not say how its run goes on") from error


def _finished(directory: Path) -> bool:
    try:
        summary = json.loads((directory / run_directory.SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(isinstance(summary, dict) and summary.get("finished"))
