"""The command line as data: `parse` turns arguments into a command.

This module imports nothing heavy: `--help` and mistakes are answered before JAX is loaded.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from cyclopts import App, CycloptsError, Group, Parameter

from selftuning.configs import (
    bench,
    convex,
    files,
    flag_values,
    help_defaults,
    presets,
    study_cli,
)
from selftuning.configs.cluster import TIMEOUT, Cluster, cluster
from selftuning.configs.errors import ConfigError
from selftuning.configs.extensions import extended
from selftuning.configs.hyperparameter_flags import HyperparameterFlags, edit, names_in
from selftuning.configs.settings import (
    CHECKPOINT_EVERY,
    AgentSettings,
    EnvSettings,
    RunSettings,
    TuningSettings,
    WandbMode,
)
from selftuning.configs.settings_flags import changed, fields_of, flags_of, given
from selftuning.configs.spelling import Said, as_flags, naming
from selftuning.configs.study_cli import Study, StudyCompare, StudyReport
from selftuning.configs.trust import FLAG
from selftuning.configs.trust import check as check_trust
from selftuning.configs.unread import refuse_unread
from selftuning.configs.usage import explained
from selftuning.configs.validate import check_checkpoint_every, validate


class Train(NamedTuple):
    """`run.py [flags]`: train an agent."""

    settings: RunSettings
    out: Path | None  # None: a new numbered directory under runs/
    cluster: Cluster | None = None  # None: this process alone
    wandb: WandbMode = "off"  # whether and how it is logged to Weights & Biases as well
    checkpoint_every: float = CHECKPOINT_EVERY  # seconds
    save_environments: bool = False  # those of the host, in checkpoints
    said: Said = Said()  # where the settings come from


class Evaluate(NamedTuple):
    """`run.py eval RUN [flags]`: evaluate the agent of a run directory."""

    run: Path
    settings: RunSettings  # of the run, but for `eval_episodes` and `seed` where flags changed them
    video: bool
    stochastic: bool = False
    best: bool = False


class Convex(NamedTuple):
    """`run.py convex [flags]`: meta-gradients on a convex problem."""

    settings: convex.ConvexSettings
    out: Path | None  # None: a new numbered directory under runs/


class Bench(NamedTuple):
    """`run.py bench [flags]`: how quick the agents are on this machine."""

    settings: bench.BenchSettings
    out: Path | None  # None: a new numbered directory under runs/


Command = Train | Evaluate | Convex | Study | StudyReport | StudyCompare | Bench

app = App(
    name="run.py",
    help="Train an agent that tunes its own hyperparameters, or evaluate one.",
    help_format="plaintext",
    version_flags=(),
    default_parameter=flag_values.STRICT,
)
_RUN = Group("Run", sort_key=0)
_RunFlags: Any = flags_of(RunSettings, _RUN)
_EnvFlags: Any = flags_of(EnvSettings, Group("Environment", sort_key=1))
_TuningFlags: Any = flags_of(TuningSettings, Group("Tuning", sort_key=2))
_AgentFlags: Any = flags_of(AgentSettings, Group("Agent", sort_key=3))

_FLAT = Parameter(name="*")
_CONFIG = Parameter(
    help="config.yaml of a run, to start from instead of the defaults; flags change it.",
    group=_RUN,
)
_PRESET = Parameter(
    help=f"a whole method: {' | '.join(presets.METHODS)}; flags change it.", group=_RUN
)
_OUT = Parameter(
    help="run directory: new or empty, or that of a run that goes on. "
    "[default: runs/ENV-META-seedSEED-N]",
    group=_RUN,
)
_CHECKPOINT_EVERY = Parameter(
    help="seconds from one checkpoint of the run to the next, less at first.", group=_RUN
)
_SAVE_ENVIRONMENTS = Parameter(
    help="save the environments of the host too, and restore them when the run goes on. They are "
    "pickled, or asked by get_state: use it for runs of your own alone.",
    negative=(),
    group=_RUN,
)
_WANDB = Parameter(
    help="log to Weights & Biases as well: off, offline (files that `wandb sync` sends) or online.",
    group=_RUN,
)
_CLUSTER = Group("Cluster", sort_key=4)
_DISTRIBUTED = Parameter(
    help="one of several processes that train one agent on all their devices; SLURM, Open MPI "
    "and Kubernetes say which, elsewhere the next three flags do. The first process writes.",
    negative=(),
    group=_CLUSTER,
)
_COORDINATOR = Parameter(help="HOST:PORT of the first process.", group=_CLUSTER)
_PROCESSES = Parameter(help="how many.", group=_CLUSTER)
_PROCESS = Parameter(help="which this one is, from 0.", group=_CLUSTER)
_JOIN_TIMEOUT = Parameter(
    help=f"seconds in which all are to be there. [default: {TIMEOUT:g}]", group=_CLUSTER
)
_EPISODES = Parameter(help="number of episodes. [default: as in the run]")
_SEED = Parameter(help="seed of the episodes. [default: as in the run]")
_TRUST_HELP = "import the modules that the run directory names."
_TRUST = Parameter(help=_TRUST_HELP, negative=())
_TRUST_OUT = Parameter(help=_TRUST_HELP, negative=(), group=_RUN)
_DRAWN = Parameter(help="draw actions from the policy, as in training.", negative="")
_BEST = Parameter(help="the best agent that --eval-every has found, not the last.", negative="")
_VIDEO = Parameter(help="write an animation of one episode as well.", negative=())
_PROBLEM = Parameter(help=f"one of {', '.join(convex.PROBLEMS)}.")
_METHODS = Parameter(help="names from the list above, comma separated. [default: by problem]")
_STEPS = Parameter(help="T, at least 10. [default: by problem]")
_DRAWS = Parameter(help="problems, of seeds SEED, SEED + 1, ...")
_FIRST = Parameter(help="seed of the first draw.")
_STOCHASTIC = Parameter(help="gradients are samples; the gap stays exact.", negative=())
_CONVEX_OUT = Parameter(help="directory, new or empty. [default: runs/convex-PROBLEM-N]")
_BENCH_QUICK = Parameter(help="256 environments and networks of 64 x 2 alone.", negative=())
_BENCH_ENVS = Parameter(help="in-graph. [default: 64 256 1024]", consume_multiple=1)
_WIDTHS = Parameter(help="of both hidden layers. [default: 64 256]", consume_multiple=1)
_REPEATS = Parameter(help="turns of each contestant. [default: 7]")
_SCALE = Parameter(help="longer turns (above 1) or shorter ones.")
_BENCH_OUT = Parameter(help="directory, new or empty. [default: runs/bench-N]")


def parse(arguments: Sequence[str]) -> Command | None:
    """Turns command-line arguments into a command; None if they asked for help, now printed.

    Raises:
      ConfigError: for every mistake that can be seen without the environment.
    """
    try:
        with help_defaults.applied(arguments):
            return app(
                arguments, exit_on_error=False, print_error=False, result_action="return_value"
            )
    except CycloptsError as error:
        raise explained(error) from error
    except ConfigError as error:
        raise as_flags(error) from error


@app.default
def _train(
    *,
    config: Annotated[Path | None, _CONFIG] = None,
    preset: Annotated[str | None, _PRESET] = None,
    out: Annotated[Path | None, _OUT] = None,
    wandb: Annotated[WandbMode, _WANDB] = "off",
    checkpoint_every: Annotated[float, _CHECKPOINT_EVERY] = CHECKPOINT_EVERY,
    save_environments: Annotated[bool, _SAVE_ENVIRONMENTS] = False,
    trust: Annotated[bool, _TRUST_OUT] = False,
    run: Annotated[_RunFlags, _FLAT] = _RunFlags(),  # noqa: B008 (frozen)
    environment: Annotated[_EnvFlags, _FLAT] = _EnvFlags(),  # noqa: B008 (frozen)
    hyperparameters: Annotated[HyperparameterFlags, _FLAT] = HyperparameterFlags(),  # noqa: B008 (frozen)
    tuning: Annotated[_TuningFlags, _FLAT] = _TuningFlags(),  # noqa: B008 (frozen)
    agent: Annotated[_AgentFlags, _FLAT] = _AgentFlags(),  # noqa: B008 (frozen)
    distributed: Annotated[bool, _DISTRIBUTED] = False,
    coordinator: Annotated[str | None, _COORDINATOR] = None,
    processes: Annotated[int | None, _PROCESSES] = None,
    process: Annotated[int | None, _PROCESS] = None,
    join_timeout: Annotated[float | None, _JOIN_TIMEOUT] = None,
) -> Train:
    """Train an agent that tunes its own hyperparameters."""
    check_checkpoint_every(checkpoint_every)
    changes = given(run, RunSettings)
    # Who names a directory and no task goes on with what is there.
    there = out / files.NAME if out and "env" not in changes and not preset else None
    if config is None and there is not None and there.is_file():
        check_trust(files.read(there), there, trust, FLAG)
        config = there
    env, steps = changes.get("env", RunSettings.env), changes.get("steps")
    base = files.load(config) if config else presets.for_env(env, steps)
    with naming(Said(config, typed=changes)):
        base = extended(base, changes.get("extensions", base.extensions))
    before, base = base, presets.with_method(base, preset) if preset else base
    parts = {
        "environment": given(environment, EnvSettings),
        "tuning": given(tuning, TuningSettings),
        "agent": given(agent, AgentSettings),
    }
    settings = dataclasses.replace(
        base,
        **changes,
        hyperparameters=edit(base.hyperparameters, hyperparameters),
        **{name: dataclasses.replace(getattr(base, name), **x) for name, x in parts.items()},
    )
    typed = fields_of(changes, parts)
    by_flags = frozenset({*typed, *names_in(hyperparameters)})
    said = Said(config, preset, changed(before, base) if preset else (), by_flags)
    with naming(said):
        validate(settings)
    refuse_unread(settings, typed, hyperparameters)
    together = cluster(distributed, coordinator, processes, process, join_timeout)
    return Train(settings, out, together, wandb, checkpoint_every, save_environments, said)


@app.command(name="eval")
def _evaluate(
    run: Annotated[Path, Parameter(help="run directory.")],
    /,
    *,
    episodes: Annotated[int | None, _EPISODES] = None,
    seed: Annotated[int | None, _SEED] = None,
    video: Annotated[bool, _VIDEO] = False,
    stochastic: Annotated[bool, _DRAWN] = False,
    best: Annotated[bool, _BEST] = False,
    trust: Annotated[bool, _TRUST] = False,
) -> Evaluate:
    """Evaluate the agent of a run directory, by default the greedy one."""
    check_trust(files.read(run / files.NAME), run / files.NAME, trust, FLAG)
    settings = files.load(run / files.NAME, trained=True)
    with naming(Said(run / files.NAME)):
        settings = extended(settings, settings.extensions)
    said: dict[str, Any] = {"eval_episodes": episodes, "seed": seed}
    changes = {name: value for name, value in said.items() if value is not None}
    settings = dataclasses.replace(settings, **changes)
    try:
        with naming(Said(run / files.NAME, typed=changes)):
            validate(settings)
    except ConfigError as error:
        raise ConfigError(re.sub("^--eval-episodes: ", "--episodes: ", str(error))) from error
    return Evaluate(run, settings, video, stochastic, best)


@app.command(name="convex", help=convex.help_text())
def _convex(
    *,
    problem: Annotated[str, _PROBLEM] = "plane_quadratic",
    methods: Annotated[str | None, _METHODS] = None,
    steps: Annotated[int | None, _STEPS] = None,
    draws: Annotated[int, _DRAWS] = 5,
    seed: Annotated[int, _FIRST] = 0,
    stochastic: Annotated[bool, _STOCHASTIC] = False,
    out: Annotated[Path | None, _CONVEX_OUT] = None,
) -> Convex:
    return Convex(convex.settings(problem, methods, steps, draws, seed, stochastic), out)


app.command(study_cli.app)


@app.command(name="bench")
def _bench(
    *,
    quick: Annotated[bool, _BENCH_QUICK] = False,
    num_envs: Annotated[tuple[int, ...] | None, _BENCH_ENVS] = None,
    widths: Annotated[tuple[int, ...] | None, _WIDTHS] = None,
    repeats: Annotated[int | None, _REPEATS] = None,
    scale: Annotated[float, _SCALE] = 1.0,
    out: Annotated[Path | None, _BENCH_OUT] = None,
) -> Bench:
    """Measure how quick the agents are on CartPole, on this machine.

    In-graph and on the host: random actions, rollouts alone, A2C, the same with meta-gradients at
    every update, and the self-tuning agent as it is by default; rejax's PPO and
    Stable-Baselines3's A2C where they are installed. Contestants take turns.
    """
    return Bench(bench.settings(quick, num_envs, widths, repeats, scale), out)
