"""The one exception that means "the user can mend this", and that of what only others can."""

_LONGEST, _LONGEST_LINE = 200, 1500  # characters that are shown of a value, and of a message


class ConfigError(ValueError):
    """Bad input. Its message is one line: what was given, its value, what is allowed.

    run.py prints it to standard error and exits with code 2.
    """

    def __init__(self, message: str):
        # Messages of libraries are quoted in ours and may span lines; ours never do.
        super().__init__(one_line(message))


class FailedEnvironmentError(RuntimeError):
    """An environment has raised an error, hangs, or returns what nobody can learn from.

    Its message is one line: which, when and what. run.py prints it to standard error and exits with
    code 1.

    Attributes:
      details: the traceback of what happened, as Python prints it; "" if there is none.
    """

    def __init__(self, message: str, details: str = ""):
        super().__init__(one_line(message))
        self.details = details

    def __reduce__(self):
        """Processes send each other such errors, with what they know of it."""
        return type(self), (str(self), self.details)


def one_line(text: object) -> str:
    """Text without line breaks or what else moves the cursor of a terminal, of some length."""
    line = " ".join(str(text).split())
    line = "".join(x if x.isprintable() else ascii(x)[1:-1] for x in line)
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[: _LONGEST_LINE - _LONGEST]} ... {line[-_LONGEST:]}"


class LostOutputError(RuntimeError):
    """Results cannot be written any more. Its message is one line: where, and why.

    run.py prints it to standard error and exits with code 1.
    """


def not_allowed(field: str, value: object, allowed: str) -> ConfigError:
    """The error for a field whose value is not allowed, to be raised.

    Args:
      field: as the user typed it.
      value: that it has.
      allowed: what it must be, in words that follow "it must be".
    """
    return ConfigError(f"{field}: {shortened(value)} is not allowed; it must be {allowed}")


def shortened(value: object) -> str:
    """A value as text that a line has room for."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters)"


def require(condition: bool, field: str, value: object, allowed: str) -> None:
    """Raises `not_allowed` unless a condition holds."""
    if not condition:
        raise not_allowed(field, value, allowed)
