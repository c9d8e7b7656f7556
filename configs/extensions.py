"""Parts of a user's own: terms of the loss, hyperparameters, a torso, an update rule, ...

    # my_terms.py
    import selftuning as st

    @st.loss_term(start=0.01, low=1e-5, high=1.0)
    def smoothness(seen):
        return seen.policy.kl_divergence(seen.next_policy)

`run.py --extension my_terms` adds `smoothness * mean(smoothness(seen))` to the loss of the
actor-critic, and so does `st.train(..., extensions=[smoothness])`. The name of the function is that
of the hyperparameter, which is tuned like all others. What functions are given is described in
`agents.terms`.

Settings hold an extension as the name of a module, with all that is found in it, as "module:name"
for one thing in it, or as the thing itself. In files it is always a name. A module is imported
wherever the settings go: that is all that a run and the processes of a study need to have in
common. Importing it may load JAX, but must not make arrays: devices are chosen later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, not_allowed
from selftuning.configs.hyperparameters import BUILT_IN, Definition
from selftuning.configs.own_parts import (
    TAKEN,
    Own,
    Part,
    PartKind,
    algorithm,
    call,
    hyperparameter,
    loss_term,
    outer_objective,
    reward_term,
    torso,
    update_rule,
)
from selftuning.configs.settings import RunSettings

__all__ = [
    "TAKEN",
    "Own",
    "Part",
    "PartKind",
    "algorithm",
    "call",
    "definitions",
    "described",
    "extended",
    "given_again",
    "held",
    "hyperparameter",
    "load",
    "loss_term",
    "outer_objective",
    "parts",
    "reward_term",
    "torso",
    "update_rule",
    "written",
]


def load(extensions: Sequence[Any]) -> dict[str, Own]:
    """The hyperparameters that extensions add, by name, in the order in which they say it.

    Args:
      extensions: as the settings have them. Modules are found where Python finds modules, and in
        the working directory.

    Raises:
      ConfigError: if one is not there, cannot be imported, adds nothing, or uses a name again.
    """
    found: dict[str, Own] = {}
    for where, own in _made(extensions):
        if isinstance(own, Own) and found.setdefault(own.name, own) is not own:
            raise ConfigError(f"extensions: {where}: there is another {own.name}")
    return found


def parts(extensions: Sequence[Any]) -> dict[PartKind, Part]:
    """The parts that extensions put in place of the project's own.

    Raises:
      ConfigError: as `load`, and if there are two of a kind.
    """
    found: dict[PartKind, Part] = {}
    for where, part in _made(extensions):
        if isinstance(part, Part) and found.setdefault(part.kind, part) is not part:
            other = found[part.kind].name
            raise ConfigError(f"extensions: {where}: there is another {part.kind}, {other}")
    return found


_MADE_BY = "a loss_term, reward_term, hyperparameter, torso, update_rule, outer_objective"
_MADE_BY += " or algorithm of selftuning"


def _made(extensions: Sequence[Any]) -> Iterator[tuple[str, Own | Part]]:
    """All that extensions hold, and the name of each for messages."""
    if not isinstance(extensions, (list, tuple)):
        raise not_allowed("extensions", repr(extensions), "a list of modules or functions")
    for number, extension in enumerate(extensions):
        name = written(extension)
        if extension in extensions[:number]:
            raise ConfigError(f"extensions: {name} is there twice")
        if isinstance(extension, Own | Part):
            yield name, extension
        elif not isinstance(extension, str):
            allowed = f"the name of a module, or {_MADE_BY}"
            raise not_allowed("extensions", repr(extension), allowed)
        elif name.startswith("<"):
            raise ConfigError(
                f"extensions: {name} was given as an object, which no file can hold; give it "
                f"again: st.load(..., extensions=[{name.strip('<>').split()[-1]}])"
            )
        else:
            yield from ((name, each) for each in held(name))


_descriptions: ContextVar[Mapping[str, Sequence[Own | Part]] | None] = ContextVar(
    "descriptions", default=None
)


@contextmanager
def described(held: Mapping[str, Sequence[Own | Part]]) -> Iterator[None]:
    """Inside, extensions hold what is said here, and no module is imported for them.

    Args:
      held: by the name of the extension. What was said outside holds still.
    """
    token = _descriptions.set({**(_descriptions.get() or {}), **held})
    try:
        yield
    finally:
        _descriptions.reset(token)


def held(name: str) -> Sequence[Own | Part]:
    """What the module of a name holds; of "module:name" that alone.

    Raises:
      ConfigError: if it cannot be imported, or holds nothing; or if modules are not to be imported
        (`described`) and it is not described.
    """
    if (known := _descriptions.get()) is None:
        return _found_in(name)
    if name not in known:
        raise ConfigError(f"extensions: nothing is known of {name}, and it is not imported here")
    return known[name]


def _found_in(name: str) -> list[Own | Part]:
    module_name, _, attribute = name.partition(":")
    module = modules.imported(module_name, "extensions")
    held = [getattr(module, attribute, None)] if attribute else vars(module).values()
    added = [each for each in held if isinstance(each, Own | Part)]
    if not added:
        raise ConfigError(
            f"extensions: {name} ({getattr(module, '__file__', 'no file')}) adds nothing; "
            f"it must hold {_MADE_BY}"
        )
    return added


def written(extension: Any) -> str:
    """An extension in a file: a name that can be imported again, or <function NAME> if none can."""
    if not isinstance(extension, Own | Part):
        return str(extension)
    module = sys.modules.get(extension.module)
    if module is not None and extension.module != "__main__":
        for name, value in vars(module).items():
            if value is extension:
                return f"{extension.module}:{name}"
    return f"<function {extension.name}>"


def given_again(extensions: Sequence[Any], given: Sequence[Any]) -> tuple[Any, ...]:
    """Extensions of a file, where those that it could not hold are the ones given; others added."""
    by_name = {f"<function {x.name}>": x for x in given if isinstance(x, Own | Part)}
    names = [written(x) for x in extensions]
    whole = [by_name.get(name, x) for name, x in zip(names, extensions, strict=True)]
    return (*whole, *(x for x in given if x not in whole and written(x) not in names))


def definitions(extensions: Sequence[Any]) -> dict[str, Definition]:
    """All hyperparameters by name: those that come with the project, then those of extensions.

    Args:
      extensions: as the settings have them.

    Raises:
      ConfigError: as `load`.
    """
    return BUILT_IN | {name: own.definition for name, own in load(extensions).items()}


def extended(settings: RunSettings, extensions: Sequence[Any]) -> RunSettings:
    """Settings with extensions and the hyperparameters these add; those there stay as they are.

    Args:
      settings: of a run.
      extensions: names of modules, or what is made by the functions here.

    Raises:
      ConfigError: as `load`.
    """
    added = {name: own.definition.default for name, own in load(extensions).items()}
    hyperparameters = settings.hyperparameters
    hyperparameters = hyperparameters | {k: x for k, x in added.items() if k not in hyperparameters}
    return replace(settings, extensions=tuple(extensions), hyperparameters=hyperparameters)
