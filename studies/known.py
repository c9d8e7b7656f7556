"""What a study knows of its environments and its extensions.

It is asked when the study begins, which imports what the settings name, and kept in its directory.
So reports of it, and of studies that strangers have made, import nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

from selftuning.configs import extensions, files, studies
from selftuning.configs.errors import ConfigError
from selftuning.configs.hyperparameters import Definition
from selftuning.configs.own_parts import Kind, Own, Part, PartKind
from selftuning.configs.studies import StudySettings
from selftuning.envs import registry
from selftuning.studies import user_modules
from selftuning.studies.user_modules import UserModule


@dataclass(frozen=True)
class Added:
    """What an extension adds, without its function.

    Attributes:
      kind: of a hyperparameter, or of a part.
      name: in messages.
      definition: of a hyperparameter; None for a part.
    """

    kind: str
    name: str
    definition: Definition | None = None


@dataclass(frozen=True)
class Known:
    """What reports ask of environments and extensions.

    Attributes:
      env: the registered id.
      in_graph: whether it is stepped inside jit, by method.
      reward_threshold: the return from which it counts as solved; None if it does not say.
      extensions: what each adds, by name.
      tasks: the same of further environments, by the names that the study has for them.
      untrained: what an agent gets before it has learned, "return" and "reward" (a step), of
        studies of several environments; that of the first stands here.
      modules: of the user, as they were when the study began.
    """

    env: str
    in_graph: dict[str, bool]
    reward_threshold: float | None
    extensions: dict[str, tuple[Added, ...]]
    tasks: dict[str, Known] = field(default_factory=dict)
    untrained: dict[str, float | None] = field(default_factory=dict)
    modules: tuple[UserModule, ...] = ()

    def on(self, name: str) -> Known:
        """Of one environment alone, by the name that the study has for it."""
        if name in self.tasks:
            return replace(self.tasks[name], extensions=self.extensions)
        return replace(self, tasks={})

    @property
    def each(self) -> list[Known]:
        """Of each environment, in the order of the study."""
        return [self, *self.tasks.values()]


def asked(study: StudySettings) -> Known:
    """Asks environments and extensions of a study themselves, which imports them.

    Raises:
      ConfigError: if one is not known, or cannot be imported.
    """
    first, *others = studies.on_each(study)
    tasks = {task.run.env: _of_one(task) for task in others}
    known = replace(_of_one(first), tasks=tasks)
    names: dict[str, str] = {}  # by id
    for name, one in zip(studies.environments(study), known.each, strict=True):
        if one.env in names:
            raise ConfigError(f"env: {names[one.env]} and {name} are the same, {one.env}")
        names[one.env] = name
    modules = user_modules.used_by(files.plain(study), studies.environments(study))
    return replace(known, modules=tuple(modules))


def _of_one(study: StudySettings) -> Known:
    env = registry.resolve(study.run.env)
    runs = {name: studies.run_settings(study, name) for name in study.methods}
    names = {name for run in runs.values() for name in run.extensions if isinstance(name, str)}
    return Known(
        env,
        {name: registry.in_graph(env, run.backend, run.environment) for name, run in runs.items()},
        registry.reward_threshold(env),
        {name: tuple(map(_described, extensions.held(name))) for name in sorted(names)},
    )


def to_plain(known: Known) -> dict[str, Any]:
    """As data that JSON can hold."""
    return files.for_json(files.plain(known))


def from_plain(data: Any, where: str) -> Known:
    """Of such data.

    Raises:
      ConfigError: if they are no such data.
    """
    return files.structure(data, Known, where)


@contextmanager
def unimported(known: Known) -> Iterator[None]:
    """Takes what extensions add from what is known of them, and imports none."""
    held = {name: tuple(map(_stood_for, added)) for name, added in known.extensions.items()}
    with extensions.described(held):
        yield


def _described(one: Own | Part) -> Added:
    return Added(one.kind, one.name, one.definition if isinstance(one, Own) else None)


def _stood_for(added: Added) -> Own | Part:
    if added.definition is not None:
        return Own(added.definition, cast(Kind, added.kind))

    def unknown(*_: Any) -> Any:
        raise AssertionError(f"{added.name} is not imported here")

    unknown.__name__ = added.name
    return Part(cast(PartKind, added.kind), unknown)
