"""The error of settings that cannot be used."""

from __future__ import annotations


class ConfigError(ValueError):
    """A setting that cannot be used: one line with the field, its value and what is allowed."""

    def __init__(self, message: str):
        """Takes a message of any shape and keeps it as one line."""
        # Messages of libraries are quoted in ours and may span lines; ours never do.
        super().__init__(" ".join(str(message).split()))
