"""Searches of Optuna in Optuna's own storage, for its dashboard and whoever else reads that.

Nothing here reads it: the scores in a checkpoint are what a search goes on from, and this is how
they look to Optuna. A process begins the file anew, with all trials that have ended, and then adds
to it, so that a dashboard that is open sees them come.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from selftuning.studies.searches import ranges
from selftuning.studies.searches.optuna_trials import Search
from selftuning.studies.searches.ranges import Range, Ranges
from selftuning.training import run_directory

SCORE, GOES_ON = "score", "trial that goes on"  # attributes of a study


class Journal:
    """A file with a study for each search.

    Attributes:
      path: of the file.
    """

    def __init__(self, path: Path, spaces: Ranges, score: str) -> None:
        """Begins the file, or takes the place of one that is there.

        Args:
          path: of the file.
          spaces: what is searched, by name; trials have positions in them, and here values.
          score: what trials are compared by.

        Raises:
          OSError: if it cannot be written.
        """
        self.path, self._spaces, self._score = path, spaces, score
        self._written: dict[str, int] = {}  # trials, by study
        path.parent.mkdir(exist_ok=True)
        with run_directory.replacing(path) as beside:
            beside.write_bytes(b"")
        self._storage = JournalStorage(JournalFileBackend(str(path)))

    def add(self, searches: Mapping[str, Search]) -> None:
        """Adds what trials of searches, by names of studies, have ended since the last call.

        Raises:
          OSError: if it cannot be written.
        """
        for name, search in searches.items():
            study = self._study(name)
            ended = [trial for trial in search.study.trials if trial.state.is_finished()]
            study.add_trials(_in_values(x, self._spaces) for x in ended[self._written[name] :])
            self._written[name] = len(ended)
            if search.alone and GOES_ON not in study.user_attrs:
                study.set_user_attr(GOES_ON, search.best)

    def _study(self, name: str) -> optuna.Study:
        if name in self._written:
            return optuna.load_study(storage=self._storage, study_name=name)
        study = optuna.create_study(storage=self._storage, study_name=name, direction="maximize")
        study.set_user_attr(SCORE, self._score)
        self._written[name] = 0
        return study


def _in_values(trial: FrozenTrial, spaces: Ranges) -> FrozenTrial:
    """A trial whose hyperparameters are as the agent has them, and not on the scale of a search."""
    found = copy.deepcopy(trial)
    found.params = {name: _value(spaces[name], x) for name, x in trial.params.items()}
    found.distributions = {name: _distribution(spaces[name]) for name in trial.params}
    return found


def _value(space: Range, position: float) -> float:
    return min(max(float(ranges.at(space, position)), space.low), space.high)


def _distribution(space: Range) -> FloatDistribution:
    """Optuna knows logarithms, and no log-odds."""
    return FloatDistribution(space.low, space.high, log=space.scale == "log")
