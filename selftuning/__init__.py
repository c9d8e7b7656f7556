"""Reinforcement-learning agents that tune their own hyperparameters while they learn.

```python
import selftuning as st

run = st.train("CartPole-v1", steps=200_000, start={"gamma": 0.7})
action, state = run.agent.act(observation)
```

`train`, `train_many` and `load` are the front door; the layers below it stay open:
`selftuning.metagrad` (meta-gradients without any reinforcement learning), `selftuning.agents`,
`selftuning.envs` and `selftuning.training`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

# Where the public names are. They are imported when they are first used: the command line answers
# help and mistakes before JAX is loaded, and terms of a user's own are found without it.
_WHERE = {
    "train": "api",
    "train_many": "api",
    "load": "api",
    "Run": "training.run",
    "Runs": "training.many",
    "Agent": "training.acting",
    "Evaluation": "training.evaluation",
    "Snapshot": "training.progress",
    "RunSettings": "configs.settings",
    "ConfigError": "configs.errors",
    "FailedEnvironmentError": "configs.errors",
    "loss_term": "configs.own_parts",
    "reward_term": "configs.own_parts",
    "hyperparameter": "configs.own_parts",
    "algorithm": "configs.own_parts",
    "torso": "configs.own_parts",
    "update_rule": "configs.own_parts",
    "outer_objective": "configs.own_parts",
}

__all__ = [
    "Agent",
    "ConfigError",
    "Evaluation",
    "FailedEnvironmentError",
    "Run",
    "RunSettings",
    "Runs",
    "Snapshot",
    "algorithm",
    "hyperparameter",
    "load",
    "loss_term",
    "outer_objective",
    "reward_term",
    "torso",
    "train",
    "train_many",
    "update_rule",
]

if TYPE_CHECKING:
    from selftuning.api import load, train, train_many
    from selftuning.configs.errors import ConfigError, FailedEnvironmentError
    from selftuning.configs.own_parts import (
        algorithm,
        hyperparameter,
        loss_term,
        outer_objective,
        reward_term,
        torso,
        update_rule,
    )
    from selftuning.configs.settings import RunSettings
    from selftuning.training.acting import Agent
    from selftuning.training.evaluation import Evaluation
    from selftuning.training.many import Runs
    from selftuning.training.progress import Snapshot
    from selftuning.training.run import Run


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module 'selftuning' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"selftuning.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
