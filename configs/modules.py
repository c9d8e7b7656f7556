"""Modules of the user, which flags and files name."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
import traceback
from types import ModuleType
from typing import Any

from selftuning.configs.errors import ConfigError, not_allowed, one_line

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PYTHON = os.path.dirname(os.__file__) + os.sep
_CALLERS = ("chex", "distrax", "gymnasium", "haiku", "jax", "jaxlib", "numpy", "optax", "rlax")
_LONGEST = 500  # letters of an error that are shown


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
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names and not _is_in(here, top):
        raise ConfigError(
            f"{field}: {name} is a module of Python itself, and has nothing for agents"
        )
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


def _is_in(folder: str, module: str) -> bool:
    """Whether a folder has a module of a name, maybe that of one of Python's own."""
    return any(os.path.exists(os.path.join(folder, x)) for x in (f"{module}.py", module))


def said(error: BaseException, function: Any = None) -> str:
    """An error in one line, with the place where the user's code has raised it.

    That is the innermost one outside of Python's own files, of ours, and of libraries that call the
    code of others. If there is none, it is where `function` is defined, or the innermost of all.

    Args:
      error: that was caught.
      function: of the user's, or a class, that was called.
    """
    try:
        text = one_line(error)
    except Exception:  # errors of users are code of users
        text = "an error that has no text"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    if isinstance(error, SyntaxError):
        return text  # which says where
    frames = [(at.filename, at.lineno) for at in traceback.extract_tb(error.__traceback__)]
    theirs = [at for at in frames if not _calls_others(at[0])]
    place = theirs[-1] if theirs else definition(function)
    if place is None and frames:
        place = frames[-1]
    return f"{text} {written(place)}".lstrip()


def trace(error: BaseException) -> str:
    """The traceback of an error, as Python prints it."""
    return "".join(traceback.format_exception(error))


Place = tuple[str, int | None]  # file and line


def written(place: Place | None) -> str:
    """A place at the end of a message; nothing if it is not known."""
    return f"({os.path.basename(place[0])}, line {place[1]})" if place else ""


def definition(function: Any) -> Place | None:
    """Where a function of the user's begins, or the `__init__` of a class; None of others."""
    for each in (function, getattr(function, "__init__", None)):
        code = getattr(each, "__code__", None)
        if code is not None and not _calls_others(code.co_filename):
            return code.co_filename, code.co_firstlineno
    return None


def last_in(trace: str) -> Place | None:
    """The last place of a user's code in a traceback that is text; None if there is no place."""
    places = re.findall(r'File "(.+)", line (\d+)', trace)
    theirs = [place for place in places if not _calls_others(place[0])] or places
    return (theirs[-1][0], int(theirs[-1][1])) if theirs else None


@functools.cache
def _calls_others(file: str) -> bool:
    """Whether a file is of Python, of this project, or of a library that calls code of users."""
    if file.startswith((_OURS, "<frozen ")):
        return True
    _, inside, rest = file.replace("-packages" + os.sep, "-packages/").rpartition("-packages/")
    if inside:
        return rest.replace(os.sep, "/").partition("/")[0] in _CALLERS
    return file.startswith(_PYTHON)
