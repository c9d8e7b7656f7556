"""What the parser of the command line complains about, in the words of all other messages."""

from __future__ import annotations

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    RepeatArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.argument import Argument

from selftuning.configs import flag_values, suggestions
from selftuning.configs.errors import ConfigError, not_allowed, shortened


def explained(error: CycloptsError) -> ConfigError:
    """The error in one line: which flag, its value, and what is allowed."""
    match error:
        case UnknownOptionError():
            return _unknown(error)
        case UnusedCliTokensError():
            return _unexpected(error)
        case RepeatArgumentError():
            return ConfigError(f"{error.token.keyword}: said twice")
        case MissingArgumentError(argument=Argument() as argument):
            allowed = flag_values.allowed(argument.resolved_hint)
            if argument.name.startswith("-"):
                return ConfigError(f"{argument.name}: has no value; it must be {allowed}")
            command = " ".join(error.command_chain or ())
            return ConfigError(f"{command}: {argument.name} is missing; it must be {allowed}")
        case CoercionError(argument=Argument() as argument):
            wrong = error.__cause__
            if isinstance(wrong, flag_values.NotAValueError):
                return not_allowed(argument.name, repr(wrong.text), wrong.allowed)
            if error.token is not None:  # of a switch, which the parser reads itself
                allowed = flag_values.allowed(argument.resolved_hint)
                name = error.token.keyword or argument.name
                return not_allowed(name, repr(error.token.value), allowed)
    return ConfigError(str(error))


def _unknown(error: UnknownOptionError) -> ConfigError:
    typed = (error.token.keyword or error.token.value).partition("=")[0]
    flags = [
        name.removeprefix("--").replace("-", "_")
        for argument in error.argument_collection
        for name in argument.names
        if argument.parse and name.startswith("--")
    ]
    start = "start {}=VALUE" if "start" in flags else ""
    meant = suggestions.meant(typed.lstrip("-").replace("-", "_"), flags, start)
    name, space, value = meant.partition(" ")
    close = f"did you mean --{name.replace('_', '-')}{space}{value}?" if meant else "see --help"
    return ConfigError(f"{typed}: there is no such flag; {close}")


def _unexpected(error: UnusedCliTokensError) -> ConfigError:
    unused = error.unused_tokens or []
    command = " ".join(error.command_chain or ())
    if command:
        allowed = f"{command} takes no more"
    elif unused and unused[0].lower() in ("true", "false"):
        allowed = "a switch is --NAME or --no-NAME, without a value"
    else:
        allowed = "the commands are eval, convex, study and bench; training needs none"
    return ConfigError(f"unexpected argument {shortened(' '.join(unused).strip())!r}; {allowed}")
