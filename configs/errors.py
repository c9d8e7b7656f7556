"""The one exception that means "the user can mend this"."""


class ConfigError(ValueError):
    """Bad input. Its message is one line: what was given, its value, what is allowed.

    run.py prints it to standard error and exits with code 2.
    """

    def __init__(self, message: str):
        # Messages of libraries are quoted in ours and may span lines; ours never do.
        super().__init__(" ".join(str(message).split()))
