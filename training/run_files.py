"""The files of a run: its directory, new or gone on with, and what is written there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rich.console import Console

from selftuning.configs import files
from selftuning.configs.settings import RunSettings, WandbMode
from selftuning.training import going_on, json_files, locks, run_directory, saving, wandb_sink
from selftuning.training.going_on import Found
from selftuning.training.history import History
from selftuning.training.recorder import Recorder
from selftuning.training.sinks import Log


class RunFiles:
    """A run directory and the files that are open in it.

    Attributes:
      directory: of the run.
    """

    def __init__(
        self,
        out: Path | None,
        settings: RunSettings,
        found: Found | None,
        recorder: Recorder,
        wandb: WandbMode,
    ):
        """Makes the directory, or takes up what it holds; the recorder then knows all of it.

        A directory that is made is this process's alone from then on; one that was there must be.

        Args:
          out: directory; None for a new numbered one.
          settings: of the run.
          found: in the directory; None for a new run.
          recorder: of the run, to which files are given to write to.
          wandb: whether the run is logged to Weights & Biases as well.

        Raises:
          ConfigError: if the directory cannot be used, what it holds is damaged, or Weights &
            Biases refuses.
        """
        before = found and found.before
        with ExitStack() as stack:
            if found is None or out is None:
                out = run_directory.create(out, settings)
                stack.enter_context(locks.locked(out))
            self.directory = out
            run_directory.write_whole(out / files.NAME, files.dump(settings))
            for chunk in found.chunks if found else ():
                recorder.take(chunk)
            if before:
                saving.put_aside_after(out, recorder.env_steps)
            mark = before and before.history
            recorder.history = History(going_on.path_of_history(out), mark)
            stack.enter_context(closing(recorder.history))
            sinks = wandb_sink.sinks(wandb, settings, out)
            log = Log(
                out,
                sinks,
                recorder.env_steps,
                before.metrics if before else 0,
                recorder.episodes.all,
                files.plain(settings),
            )
            recorder.log = stack.enter_context(closing(log))
            self._files = stack.pop_all()

    def close(self) -> None:
        """Closes all."""
        self._files.close()

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json, in the place of one that was there."""
        json_files.write(self.directory / run_directory.SUMMARY, summary)

    def plot(self, recorder: Recorder, console: Console) -> None:
        """Draws the plots; whatever goes wrong there is not worth more than a warning."""
        try:
            recorder.plot(self.directory)
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            console.print(f"warning: no plots: {said}", highlight=False, markup=False)
