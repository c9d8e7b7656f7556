"""What a run shows while it goes on: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

LINES = 10  # of a plain log
_SECONDS_BETWEEN_LINES = 30.0
_TIE = "\N{NO-BREAK SPACE}"
_TIED = re.compile(r"(?<=\w) (?=[-+]?\d)|(?<=\d) (?=\[)|(?<=\d,) (?=[-+]?\d[^][ ]*\])")


class Snapshot(NamedTuple):
    """Where a run is.

    Attributes:
      env_steps: environment steps so far.
      seconds: since training began, compilation left out.
      steps_per_second: over the last five chunks.
      mean_return: of the last 100 episodes; None before the first has ended.
      reward_per_step: mean of the last chunk, shown until then.
      hyperparameters: values now by name; a list where there is one a head.
      tuned: names of those that are tuned.
    """

    env_steps: int
    seconds: float
    steps_per_second: float
    mean_return: float | None
    reward_per_step: float
    hyperparameters: Mapping[str, float | list[float]]
    tuned: tuple[str, ...] = ()


def describe(snapshot: Snapshot) -> str:
    """A snapshot without its step count, on one line; of tuned hyperparameters, if any is."""
    return "  ".join(_pairs(snapshot))


def _pairs(snapshot: Snapshot) -> list[str]:
    """Each number of a snapshot with its name."""
    names = snapshot.tuned or snapshot.hyperparameters
    values = [f"{name} {_range(snapshot.hyperparameters[name])}" for name in names]
    if snapshot.mean_return is None:
        success = f"reward {snapshot.reward_per_step:.4g} a step"
    else:
        success = f"return {snapshot.mean_return:.1f}"
    return [f"{_thousands(snapshot.steps_per_second)} steps/s", success, *values]


def in_lines(parts: Sequence[str], width: int, gap: str = "  ") -> list[str]:
    """Parts joined to lines of at most so many characters, none of them broken."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(gap) + len(part) <= width:
            lines[-1] += gap + part
        else:
            lines.append(part)
    return lines


def in_paragraph(text: str, width: int) -> str:
    """Text in lines of at most so many characters, each number beside its name and its interval."""
    tied = _TIED.sub(_TIE, text)
    lines = (
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in tied.splitlines()
    )
    return "\n".join(lines).replace(_TIE, " ")


@contextmanager
def waiting(console: Console, what: str) -> Iterator[None]:
    """Says what goes on while nothing else can be shown: a spinner on a terminal, or a line."""
    if is_live(console):
        with console.status(what):
            yield
        return
    console.print(what, highlight=False, soft_wrap=True)
    yield


def is_live(console: Console) -> bool:
    """Whether what it shows can be overwritten."""
    return console.is_terminal or console.is_jupyter


class TimeLeft:
    """How long a run will still take, at its speed since it was first seen.

    What came before that is left out: the first chunk of a program takes longer than the others,
    and those before a run went on may be of another machine.
    """

    def __init__(self, total: int):
        self._total = total
        self._first: tuple[int, float] | None = None

    def __call__(self, env_steps: int, seconds: float) -> float:
        """Seconds that are left after so many steps, which took so long."""
        steps, since = self._first or (0, 0.0)
        self._first = self._first or (env_steps, seconds)
        return (seconds - since) / max(env_steps - steps, 1) * max(self._total - env_steps, 0)


class Due:
    """Whether a plain log is to have another line: each tenth of the work, and after long silence.

    Args:
      seconds: of silence at most, so that slow work is seen to live.
      first: tenth of the work at which the first line is due.
    """

    def __init__(self, seconds: float, first: int = 0):
        self._seconds, self._next, self._last = seconds, first, 0.0

    def __call__(self, done: float, now: float) -> bool:
        """Asked with the part of the work that is done and the seconds since it began."""
        due = done * LINES >= self._next or now - self._last >= self._seconds
        if due:
            self._next, self._last = int(done * LINES) + 1, now
        return due


class LiveProgress:
    """A progress bar with a line of numbers under it, for terminals."""

    def __init__(self, console: Console, total: int):
        steps = TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps")
        self._progress = Progress(
            BarColumn(bar_width=None), steps, TextColumn("{task.fields[left]}")
        )
        self._task = self._progress.add_task("", total=total, left="")
        self._console, self._left = console, TimeLeft(total)
        self._text = Text("beginning")
        group = Group(self._progress, self._text)
        self._live = Live(group, console=console, refresh_per_second=8, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Shows where the run is."""
        left = duration(self._left(snapshot.env_steps, snapshot.seconds))
        self._progress.update(self._task, completed=snapshot.env_steps, left=f"{left} left")
        self._text.plain = "\n".join(in_lines(_pairs(snapshot), self._console.width))


class PlainProgress:
    """A line every tenth of the run, or every half minute, for files and pipes."""

    def __init__(self, console: Console, total: int):
        self._console = console
        self._total = total
        self._due, self._left = Due(_SECONDS_BETWEEN_LINES), TimeLeft(total)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, snapshot: Snapshot) -> None:
        """Prints where the run is, if a line is due."""
        done = snapshot.env_steps / self._total
        left = self._left(snapshot.env_steps, snapshot.seconds)
        if not self._due(done, snapshot.seconds):
            return
        steps = f"{snapshot.env_steps:>11,} steps {done:4.0%}"
        line = f"{steps}  {describe(snapshot)}  {duration(left)} left"
        self._console.print(line, highlight=False, soft_wrap=True)


def make_progress(console: Console, total: int) -> LiveProgress | PlainProgress:
    """The progress display that fits the console, for a run of `total` environment steps."""
    return (LiveProgress if is_live(console) else PlainProgress)(console, total)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, in words."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _range(value: float | list[float]) -> str:
    """A value, or the lowest and the highest of a list: a line has no room for more."""
    if not isinstance(value, list):
        return f"{value:.4g}"
    return f"{min(value):.4g}..{max(value):.4g}"


def _thousands(number: float) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else f"{number:.0f}"
