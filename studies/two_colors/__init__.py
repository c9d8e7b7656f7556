"""What a study of Two Colors says that no other can: how agents come through changes of signs.

A reading of the study's table, beside the general one; nothing is run here.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import gymnasium as gym

from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.envs.hosted import functional_env
from selftuning.envs.two_colors import TwoColors
from selftuning.studies.report.pictures import Drawn
from selftuning.studies.study_files import Measured

FOLDER = "two-colors"  # in the directory of a study
TITLE = "Two Colors: rewards that change sign"


class Extra(NamedTuple):
    """What was added to a study.

    Attributes:
      title: of it.
      lines: to print: a table, of at most 80 characters where labels are short, and sentences.
      summary: file with all numbers.
      pictures: that were drawn.
    """

    title: str
    lines: list[str]
    summary: Path
    pictures: list[Drawn]


def extra(directory: Path, measured: Measured) -> Extra | None:
    """Writes pictures and two-colors/summary.json into a study's directory, anew if need be.

    Args:
      directory: of the study.
      measured: as far as it has run.

    Returns:
      What to print and show; None if the task is not Two Colors, or nothing can be said yet.
    """
    task = task_of(measured.settings.run)
    if task is None:
        return None
    # Matplotlib is imported where something is drawn, and by no worker of a study.
    from selftuning.studies.two_colors import plots, report, results

    study = results.study_of(measured, task)
    if study is None:
        return None
    folder = directory / FOLDER
    folder.mkdir(exist_ok=True)
    pictures = plots.draw(folder, study)
    summary = report.write(folder, study)
    lines = [*report.lines(study), f"pictures and numbers: {folder}"]
    return Extra(TITLE, lines, summary, pictures)


def task_of(settings: RunSettings) -> TwoColors | None:
    """The Two Colors task that runs have, whatever its id and its settings; None for another one.

    One with a time limit or wrappers is another one: signs there change at other times.
    """
    spec = gym.registry[registry.resolve(settings.env).rpartition(":")[2]]
    make = functional_env(spec)
    if make is None or spec.additional_wrappers or spec.max_episode_steps is not None:
        return None
    task = make()
    return task if isinstance(task, TwoColors) else None
