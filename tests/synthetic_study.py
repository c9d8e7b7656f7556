"""Studies whose numbers are made up, complete to the last column, in no time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from selftuning.configs import extensions, studies, study_checks
from selftuning.configs.hyperparameters import Definition, Hyperparameter
from selftuning.configs.own_parts import Own
from selftuning.configs.studies import StudySettings
from selftuning.studies import known, plan, table
from selftuning.studies.execute import Result
from selftuning.studies.outcome import Outcome, outcome_of
from selftuning.studies.plan import Unit
from selftuning.studies.study_files import Measured

GRID = {"gamma": (0.7, 0.9, 0.99), "entropy": (0.003, 0.03, 0.3)}
STEPS = 200_000
BEST = 500.0  # return
_GOOD = {"gamma": 0.99, "lambda": 0.95, "entropy": 0.01}  # where an agent learns best
_PULL = {"mg": 0.4, "bmg": 0.97, "pbt": 0.8}  # part of the way there at the end, by method
# Names of methods, environments and hyperparameters as strangers may choose them.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    """a "very" long & 'strange' label of %{x} and $title, which goes on <b>and on</b>""",
    "two\nlines,\ta tab and [red]brackets[/]",
    f"""'quoted" `{"w" * 400}""",
    "שיטה עם מספרים 3, 4 וסוף",
    "\u202eturned around\u202c \u200b{{ template }}",
)
SHOWN = (  # what of them can be read
    *HOSTILE[:3],
    "two lines, a tab and [red]brackets[/]",
    f"""'quoted" `{"w" * 39}…{"w" * 20}""",
    f"\u2068{HOSTILE[5]}\u2069",
    "turned around \u200b{{ template }}",
)
# A hyperparameter's own name is one in Python, which may be long and of any script.
_STRANGE = ("משקל", f"very_{'long_' * 30}name")


def measured(
    methods: Any = "none,mg,bmg",
    starts: Mapping[str, Sequence[float]] | None = None,
    seeds: int = 5,
    points: int = 30,
    lost: int = 0,
    unknown: bool = False,
    **changes: Any,
) -> Measured:
    """What a study has measured whose runs end the better, the closer they are to good values.

    Tuned are gamma, lambda and entropy.

    Args:
      methods: of the study, as in `study.yaml`.
      starts: a grid; of gamma and entropy if None.
      seeds: of each start.
      points: at which runs are measured.
      lost: runs of each method, from the last on, whose parameters become NaN half-way.
      unknown: whether nothing is known of these from the first point on.
      changes: further settings of the study.
    """
    settings = studies.layered(
        [
            {
                "run": {
                    "env": "CartPole",
                    "steps": STEPS,
                    "hyperparameters": {"critic": {"tuned": False}},  # fewer charts
                },
                "methods": methods,
                "starts": dict(GRID if starts is None else starts),
                "seeds": seeds,
                "points": points,
            },
            changes,
        ]
    )
    study_checks.check(settings)
    units = plan.units_of(settings)
    counts = Counter(unit.method for unit in units for _ in unit.runs)
    results = {
        unit.name: result(settings, unit, counts[unit.method] - lost, unknown) for unit in units
    }
    parts = [table.of_unit(settings, unit, results[unit.name]) for unit in units]
    origin = {
        "command": "python run.py study --env CartPole --start gamma=0.7,0.9,0.99 '<b>&'",
        "begun": "2026-01-31 12:00:00 +0000",
        "code": "1.2.3, commit 0123456789ab",
    }
    about = {name: result.about for name, result in results.items()}
    return Measured(
        settings, origin, table.joined(parts, settings.methods), about, [], known.asked(settings)
    )


def study(**arguments: Any) -> Outcome:
    """The same as a study; see `measured`."""
    return outcome_of(measured(**arguments))


@contextmanager
def hostile() -> Iterator[Outcome]:
    """Names of methods, hyperparameters and the environment that are `HOSTILE`; known inside."""
    kinds = ["none", "mg", *(f"bmg-{n}" for n in range(len(HOSTILE) - 2))]
    named = {
        name: {
            "of": name.partition("-")[0],
            "label": label,
            "changes": {"agent": {"hidden": [8 + n]}},
        }
        for n, (name, label) in enumerate(zip(kinds, HOSTILE, strict=True))
    }
    own = [
        Own(
            Definition(name, label, "log", Hyperparameter(0.1, 0.01, 1.0, True, 0.1), read_by),
            "loss",
        )
        for name, label, read_by in zip(
            _STRANGE, (HOSTILE[1], HOSTILE[5]), [("actor_critic",)] * 2, strict=True
        )
    ]
    fixed = {name: {"tuned": False} for name in ("gamma", "lambda", "entropy")}  # fewer charts
    with extensions.described({"strange": own}):
        found = measured(
            methods=named,
            seeds=2,
            starts={_STRANGE[0]: (0.05, 0.5), _STRANGE[1]: (0.02, 0.7), "gamma": (0.7, 0.99)},
            run={"extensions": ["strange"], "hyperparameters": fixed},
        )
        run = replace(found.settings.run, env=" ".join(HOSTILE))
        yield outcome_of(found._replace(settings=replace(found.settings, run=run)))


def single_start() -> Outcome:
    """Nothing that starts differ in."""
    return study(methods="none,bmg", starts={})


def one_name() -> Outcome:
    """Starts that differ in gamma alone, with comparators that have but one."""
    return study(methods="none,outer,mg,bmg", starts={"gamma": (0.7, 0.9, 0.99)}, seeds=3)


def three_names() -> Outcome:
    """Starts that differ in three hyperparameters."""
    return study(
        methods="none,bmg",
        starts={"gamma": (0.7, 0.99), "entropy": (0.003, 0.3), "lambda": (0.8, 0.95)},
        seeds=2,
    )


def searches() -> Outcome:
    """Methods that search beside some that do not."""
    return study(methods="none,outer,bmg,random_search,pbt")


def with_losses() -> Outcome:
    """Some runs whose parameters became NaN."""
    return study(methods="none,bmg", starts={"gamma": (0.7, 0.9, 0.99)}, seeds=3, lost=1)


def result(
    settings: StudySettings, unit: Unit, good: int = 1_000_000, unknown: bool = False
) -> Result:
    """What a unit measured, of which runs are lost from the number `good` on."""
    count = settings.points
    rng = np.random.default_rng([len(unit.name), *unit.name.encode()])
    share = np.linspace(0, 1, count + 1)[1:, None]  # of the run, at each point
    runs = unit.runs
    paths = {
        name: _path(
            unit.method, name, [run.start.get(name, spec.start) for run in runs], share, rng
        )
        for name, spec in unit.settings.in_use.items()
    }
    off = sum(
        np.abs(_odds(paths[name]) - _odds(np.array(good))) / 5
        for name, good in _GOOD.items()
        if name in paths
    )
    speed = np.exp(-off) * np.exp(rng.normal(0, 0.25, len(runs)))
    scores = BEST * (1 - np.exp(-4 * share * speed)) + rng.normal(0, 9, off.shape)
    scores = scores.clip(8, BEST)
    steps = np.round(STEPS * share) + np.zeros(len(runs))
    solved = np.where(scores >= 475, steps, np.nan)
    values = {
        "env_steps": steps,
        "return": scores,
        "episodes": np.full(off.shape, 12.0),
        "reward": np.ones(off.shape),
        "solved_at": np.fmin.accumulate(solved),
        "greedy": np.where(share == 1, scores, np.nan),
        "finite": np.ones(off.shape),
        **paths,
    }
    first = 0 if unknown else count // 2
    lost = [place for place, run in enumerate(runs) if run.index >= good]
    for name in ("return", "greedy", "finite", *paths):
        values[name][first:, lost] = 0.0 if name == "finite" else np.nan
    about = {
        "study": "0" * 64,
        "code": "1.2.3, commit 0123456789ab",
        "seconds": 4.0,
        "compile_seconds": 1.0,
        "begun_at_point": 0,
        "device": "cpu",
        "machine": "A processor, 2 cores, Linux <x86_64>",
        "versions": {"jax": "1.2.3", "numpy": "2.3.4"},
    }
    return Result(values, about)


def _path(
    method: str, name: str, starts: Sequence[float], share: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Values [P, R], on the way from starts [R] to the good value where the method tunes."""
    begin = np.array(starts, float)[None]
    if name not in _GOOD or method not in _PULL:
        return begin + 0 * share
    pull = _PULL[method] * (1 - np.exp(-3 * share)) / (1 - np.exp(-3))
    wandering = 0.05 * np.cumsum(rng.normal(0, 1, (len(share), len(starts))), 0)
    goal = _odds(np.array(_GOOD[name]))
    return _from_odds(_odds(begin) * (1 - pull) + goal * pull + wandering)


def _odds(values: np.ndarray) -> np.ndarray:
    return np.log(values) - np.log1p(-values)


def _from_odds(places: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-places))
