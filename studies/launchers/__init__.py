"""Who runs the units of a study: processes of this machine, or a cluster.

A launcher is a context in which functions of units can be called somewhere else. What it reports
comes in any order, while it happens.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from selftuning.configs.errors import ConfigError
from selftuning.configs.study_cli import Where
from selftuning.studies.launchers.jobs import Launcher


def open_launcher(where: Where) -> AbstractContextManager[Launcher]:
    """The launcher that was asked for.

    Raises:
      ConfigError: if its packages are not installed, or the cluster cannot be reached.
    """
    if where.launcher == "local":
        from selftuning.studies.launchers import local

        return local.launcher(where.workers)
    try:
        from selftuning.studies.launchers import ray_cluster
    except ImportError as error:
        raise ConfigError(
            f"launcher: ray needs another package: pip install ray ({error})"
        ) from error
    return ray_cluster.launcher(where.workers, where.address)
