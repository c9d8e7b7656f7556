"""The one exception that means "the user can mend this"."""


class ConfigError(ValueError):
    """Bad input. Its message is one line: what was given, its value, what is allowed.

    run.py prints it to standard error and exits with code 2.
    """

    def __init__(self, message: str):
        # Messages of libraries are quoted in ours and may span lines; ours never do.
        super().__init__(" ".join(str(message).split()))


class FailedEnvironmentError(RuntimeError):
    """An environment has raised an error. Its message is one line: which, when and what.

    run.py prints it to standard error and exits with code 1.
    """


def not_allowed(field: str, value: object, allowed: str) -> ConfigError:
    """The error for a field whose value is not allowed, to be raised.

    Args:
      field: as the user typed it.
      value: that it has.
      allowed: what it must be, in words that follow "it must be".
    """
    return ConfigError(f"{field}: {value} is not allowed; it must be {allowed}")


def require(condition: bool, field: str, value: object, allowed: str) -> None:
    """Raises `not_allowed` unless a condition holds."""
    if not condition:
        raise not_allowed(field, value, allowed)
