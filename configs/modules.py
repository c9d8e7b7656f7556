"""Modules of the user, which flags and files name."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from types import ModuleType

from selftuning.configs.errors import ConfigError, not_allowed


def imported(name: str, field: str) -> ModuleType:
    """A module, which is found where Python finds modules, and in the working directory.

    Args:
      name: of it, such as my_terms for my_terms.py.
      field: setting that names it.

    Raises:
      ConfigError: if it is not there, or cannot be imported.
    """
    if name.endswith(".py") or not all(part.isidentifier() for part in name.split(".")):
        allowed = "the name of a module, as my_terms is of my_terms.py"
        raise not_allowed(field, repr(name), allowed)
    here = os.getcwd()
    # `python run.py` has the folder of run.py on the path in place of this one, and the user's own
    # `envs` or `configs` is meant before anything of that name that lies elsewhere.
    if sys.path[0] != here:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {name})") from error
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name
        if missing and f"{name}.".startswith(f"{missing}."):
            where = f"{here}, PYTHONPATH and what is installed"
            raise ConfigError(f"{field}: no module {name} is found in {where}") from error
        raise ConfigError(
            f"{field}: {name} cannot be imported: {type(error).__name__}: {said(error)}"
        ) from error


def said(error: BaseException, file: str = "") -> str:
    """An error in one line, with the place where it happened.

    Args:
      error: that was caught.
      file: in which the place is looked for; the innermost one, of whatever file, if it has none.
    """
    text = " ".join(str(error).split())
    if isinstance(error, SyntaxError):
        return text  # which says where
    frames = traceback.extract_tb(error.__traceback__)
    last = ([frame for frame in frames if frame.filename == file] or frames)[-1]
    return f"{text} ({os.path.basename(last.filename)}, line {last.lineno})"
