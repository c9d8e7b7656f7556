"""Why agents stop touching squares: `python -m selftuning.benchmarks.two_colors_deaths DIR`.

Two Colors, seeds from 1000, 1.2 million steps. Ten times a phase the policy as it is walks 1,000
steps on, learning nothing: which squares it touches, how random it is where it goes, and whether it
moves at all. Beside it stand the units of the value network that are zero in every state, and how
far a few updates moved logits. A table of docs/two-colors.md is made of it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from selftuning.agents import networks, self_tuning
from selftuning.benchmarks.record import DOCS, keep, markdown, with_table, write
from selftuning.configs import keywords
from selftuning.configs.settings import RunSettings
from selftuning.envs import registry
from selftuning.envs.task import GraphTask
from selftuning.envs.two_colors import CELLS, SIZE
from selftuning.training.rollout import collect_in_graph
from selftuning.training.runner import TrainState, graph_cycle

ENV = "TwoColors-v0"
SEEDS = (1000, 1001, 1002)
STEPS = 1_200_000
SWITCH = 100_000  # steps between two changes of signs
LOOKS = 10  # in a phase
WALK = 1_000
PAGE = DOCS / "two-colors.md"
# From so many good squares in 1,000 steps on an agent is said to collect rewards: a third of its
# best, and five times what a random walk finds. Below such a share of moves it stands still.
_COLLECTS, _STANDS = 100, 0.05


class Look(NamedTuple):
    """A policy and its networks at one time; scalars, or [R] of several runs.

    Attributes:
      good: touches of the good square in 1,000 steps.
      bad: touches of the bad one.
      entropy: of the policy in nats, mean over the states that it visits; at most log 4.
      moves: share of its steps that change its cell.
      value: mean of the values of the visited states.
      dead: share of units in the last hidden layer of the value network that are zero in every
        state.
    """

    good: jax.Array
    bad: jax.Array
    entropy: jax.Array
    moves: jax.Array
    value: jax.Array
    dead: jax.Array


def agents() -> dict[str, RunSettings]:
    """By name: what is compared. Where nothing else is said, lambda is 0.9, and agents without
    tuning have an entropy weight of 0.1. None is pulled towards its first parameters.
    """

    def fixed(**start: float) -> dict[str, Any]:
        return {"meta": "none", "start": {"entropy": 0.1, "lambda": 0.9, **start}}

    changes: dict[str, dict[str, Any]] = {
        "SGD 0.1": fixed(),
        "SGD 0.1, lambda 0.5": fixed(**{"lambda": 0.5}),
        "SGD 0.1, one-step TD": fixed(**{"lambda": 0.01}),
        "RMSProp 0.002": fixed(learning_rate=2e-3) | {"inner_optimizer": "rms"},
        "SGD 0.1, bmg + reward": {
            "start": {"lambda": 0.9},
            "bounds": {"entropy": (1e-6, 1.0)},
            "outer": {"entropy": 0.2},
            "meta_learning_rate": 3e-3,
        },
        "SGD 0.1, lambda 0.5, bmg + reward": {"outer": {"entropy": 0.2}},
    }
    shared = {"steps": STEPS, "regularize": "none"}
    return {
        name: keywords.run_settings(None, ENV, (), None, shared | asked)
        for name, asked in changes.items()
    }


def measure(directory: Path, name: str, settings: RunSettings, seeds=SEEDS) -> None:
    """Trains the seeds side by side and looks at them, unless that has been done."""
    file = directory / f"{name.replace(' ', '_')}.json"
    if file.exists():
        return
    begin, advance, look = _programs(settings)
    state = begin(jnp.stack([jax.random.PRNGKey(seed) for seed in seeds]))
    looks = []
    for number in range(settings.steps * LOOKS // SWITCH):
        state, (reward, jump, weight) = advance(state)
        seen = look(state)._asdict() | {
            "reward": reward.mean(0),
            "jump": jump.max(0),
            "weight": weight[-1],
        }
        plain = {key: [float(f"{x:.4g}") for x in np.asarray(v)] for key, v in seen.items()}
        looks.append({"phase": number // LOOKS, "look": number % LOOKS} | plain)
    keep(file, {"agent": name, "seeds": list(seeds), "looks": looks})


def _programs(settings: RunSettings) -> tuple[Callable, Callable, Callable]:
    """(begin, advance, look) of runs side by side; `advance` goes on to the next look."""
    task = cast(GraphTask, registry.make(ENV, settings.num_envs, "jax"))
    spaces = task.spec.observation_space, task.spec.action_space
    agent = self_tuning.make(*spaces, settings)
    nets = networks.make(*spaces, settings.agent)
    unpack = agent.algorithm.packing.unpack
    init, cycle = graph_cycle(task, agent, settings)
    walk = collect_in_graph(task, agent, WALK)
    everywhere = jnp.asarray(_states())

    def parameters(state: TrainState):
        return unpack(state.agent.learner.inner.params)

    def logits(params, observation):
        return jax.nn.log_softmax(nets.policy(params, observation).logits)

    def one_cycle(state, _):
        after, metrics = cycle(state, None)
        before = logits(parameters(state), state.observation)
        jump = jnp.abs(logits(parameters(after), state.observation) - before).max()
        return after, (metrics.reward, jump, metrics.hyperparameters["entropy"])

    def look(state):
        params = parameters(state)
        actor = agent.params(state.agent)
        _, _, trajectory, _ = walk(actor, state.env, state.observation, state.key)
        said = logits(params, trajectory.observation)
        places = trajectory.observation[..., : 2 * SIZE]
        return Look(
            good=(trajectory.reward > 0.5).sum(),
            bad=(trajectory.reward < -0.5).sum(),
            entropy=-(jnp.exp(said) * said).sum(-1).mean(),
            moves=(places[1:] != places[:-1]).any(-1).mean(),
            value=nets.value(params, trajectory.observation).mean(),
            dead=_dead(params["value"], everywhere),
        )

    cycles = SWITCH // LOOKS // settings.steps_per_cycle
    return (
        jax.jit(jax.vmap(lambda key: init(key, None))),
        jax.jit(
            lambda states: jax.lax.scan(jax.vmap(one_cycle, (0, None)), states, None, cycles),
            donate_argnums=0,
        ),
        jax.jit(jax.vmap(look)),
    )


def _dead(params: Any, observations: jax.Array) -> jax.Array:
    """Share of the last hidden units that are zero in all of these states."""
    hidden = observations
    for layer in ("mlp/~/linear_0", "mlp/~/linear_1"):
        hidden = jax.nn.relu(hidden @ params[layer]["w"] + params[layer]["b"])
    return (hidden.max(0) <= 0).mean()


def _states(number: int = 2048) -> np.ndarray:
    """Observations of random states [number, 30]."""
    draw = np.random.default_rng(0)
    cells = np.stack([draw.permutation(CELLS)[:3] for _ in range(number)])
    places = np.stack([cells // SIZE, cells % SIZE], -1)
    return (places[..., None] == np.arange(SIZE)).astype(np.float32).reshape(number, -1)


def kept(directory: Path) -> list[dict[str, Any]]:
    """What has been measured, in the order of `agents`."""
    files = {name: directory / f"{name.replace(' ', '_')}.json" for name in agents()}
    return [json.loads(file.read_text()) for file in files.values() if file.exists()]


def table(results: list[dict[str, Any]]) -> str:
    """What runs are like at the end of a phase, if they collect rewards there and if not."""
    head = (
        "agent",
        "at the end of a phase",
        "phases",
        "good, bad squares in 1,000 steps",
        "entropy where it goes",
        "steps that move it",
        "dead units of the critic",
        "largest change of a log-probability in four updates: after a change of signs, later",
    )
    return markdown(head, (line for result in results for line in _lines(result)))


def _lines(result: dict[str, Any]) -> list[Sequence[str]]:
    """The ends of phases after the first change of signs, by what the policy does there."""
    looks = [look for look in result["looks"] if look["phase"] > 0]
    # The very last look of a phase may be after the change of signs.
    ends = [look for look in looks if look["look"] == LOOKS - 2]
    columns = {name: np.array([end[name] for end in ends]).ravel() for name in Look._fields}
    jumps = [
        np.array([look["jump"] for look in looks if (look["look"] == 0) == first]).max()
        for first in (True, False)
    ]
    collects, stands = columns["good"] >= _COLLECTS, columns["moves"] < _STANDS
    kinds = {
        "collects rewards": collects,
        "wanders": ~collects & ~stands,
        "stands still": ~collects & stands,
    }
    lines: list[Sequence[str]] = []
    for kind, which in kinds.items():
        if not which.any():
            continue
        mean = {name: values[which].mean() for name, values in columns.items()}
        lines.append(
            (
                result["agent"],
                kind,
                f"{which.mean():.0%}",
                f"{mean['good']:.0f}, {mean['bad']:.0f}",
                f"{mean['entropy']:.2f}",
                f"{mean['moves']:.0%}",
                f"{mean['dead']:.0%}",
                f"{jumps[0]:.0f}, {jumps[1]:.0f}",
            )
        )
    return lines


def main() -> None:
    """Measures what is missing, keeps it, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    for name, settings in agents().items():
        measure(directory, name, settings)
    results = kept(directory)
    write("two-colors-deaths", {"runs": results}, indent=None)
    PAGE.write_text(with_table(PAGE.read_text(), "two-colors-deaths", table(results)))


if __name__ == "__main__":
    main()
