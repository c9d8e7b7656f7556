"""Two Colors studies: presets, arithmetic on series, and what is answered from rows."""

import itertools

import numpy as np
import pytest

from selftuning.benchmarks.two_colors import answers as two_colors_answers
from selftuning.benchmarks.two_colors import published, series
from selftuning.benchmarks.two_colors import rows as two_colors_rows
from selftuning.benchmarks.two_colors import summary as two_colors_summary
from selftuning.benchmarks.two_colors.pictures import styles
from selftuning.benchmarks.two_colors.rows import Interval, Row
from selftuning.configs import studies, study_checks
from selftuning.studies import plan

PHASE = 512
MAIN = ["fixed", "mg_reward", "bmg_reward"]

# Everything that a method changes in what runs have in common: method, context, K, L, period,
# weight of the values in matching.
MADE_OF = {
    "fixed": ("none", "none", 1, 4, 4, 0.0),
    "mg": ("mg", "none", 1, 4, 4, 1.0),
    "mg_reward": ("mg", "reward", 1, 4, 4, 1.0),
    "mg_rich": ("mg", "rich", 1, 4, 4, 1.0),
    "bmg": ("bmg", "none", 1, 4, 4, 0.0),
    "bmg_reward": ("bmg", "reward", 1, 4, 4, 0.0),
    "bmg_rich": ("bmg", "rich", 1, 4, 4, 0.0),
    "q_fixed": ("none", "none", 0, 16, 16, 0.0),
    "q_bmg": ("bmg", "none", 0, 128, 128, 0.0),
    "q_bmg_reward": ("bmg", "reward", 0, 128, 128, 0.0),
}
ALL_WEIGHTS = [0.0, 0.05, 0.1, 0.2, 0.4, 0.8]
PRESETS = {
    "two-colors-quick": (1_000_000, 5, MAIN, [0.05, 0.1, 0.2]),
    "two-colors": (10_000_000, 5, MAIN, [0.1, 0.2, 0.3]),
    "two-colors-full": (10_000_000, 10, list(MADE_OF), ALL_WEIGHTS),
}


# The studies that come with the project.


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_of_the_size_that_they_say(name):
    settings = studies.layered([studies.preset(name)])
    study_checks.check(settings)
    steps, seeds, methods, weights = PRESETS[name]
    run = settings.run
    assert (run.env, run.steps, run.seed, run.num_envs) == ("TwoColors-v0", steps, 0, 1)
    assert (settings.seeds, list(settings.methods)) == (seeds, methods)
    units = {unit.method: unit for unit in plan.units_of(settings)}
    for method in methods:
        starts = studies.starts(settings, method)
        if method == "fixed":
            assert starts == [{"entropy": weight} for weight in weights]
        elif method == "q_fixed":
            assert starts == [{"epsilon": 0.05}, {"epsilon": 0.1}, {"epsilon": 0.3}]
        else:
            assert starts == [{}]
        # Points are close enough together to see what happens at changes of signs.
        unit = units[method]
        points = plan.points_of(-(-steps // unit.settings.steps_per_cycle), unit.points)
        length = points.cycles * unit.settings.steps_per_cycle
        assert series.resolved(length, 100_000), (method, length)


@pytest.mark.parametrize("name", MADE_OF)
def test_methods_are_what_their_names_say(name):
    made = studies.run_settings(studies.layered([studies.preset("two-colors-full")]), name)
    t, agent = made.tuning, made.agent
    found = (t.method, t.context, t.inner_steps, t.target_steps, t.period, t.value_weight)
    assert found == MADE_OF[name]
    of_q = name.startswith("q_")
    assert (t.learning_rate, t.context_hidden) == (
        3e-3 if name.startswith("q_bmg") else 1e-3,
        (32,),
    )
    assert made.in_use["lambda"].start == (0.9 if of_q else 0.5)
    assert (agent.hidden, agent.rollout_length, agent.heads) == ((256, 256), 16, 1)
    learner = (agent.algorithm, agent.inner_optimizer, made.in_use["learning_rate"].start)
    if of_q:
        assert learner == ("q_lambda", "rms", 1e-3)
        assert (t.matching, t.parameter_weight) == ("kl", 0.0)
    else:
        assert learner == ("actor_critic", "sgd", 0.1)
        assert (t.matching, t.parameter_weight) == ("none", 1.0)
        entropy = made.in_use["entropy"]
        assert (entropy.start, entropy.low, entropy.high, entropy.outer) == (0.2, 1e-5, 1.0, 0.14)
    moved = "epsilon" if of_q else "entropy"
    assert [n for n, spec in made.in_use.items() if spec.tuned] == [moved]


# Arithmetic on series, against the steps one by one.


def test_means_count_parts_of_cycles():
    values, length = np.random.default_rng(0).normal(size=(2, 3, 7)), 6
    by_step = np.repeat(values, length, -1)
    edges = np.array([0, 1, 4, 6, 17, 30, 41, 42])
    expected = np.stack([by_step[..., a:b].mean(-1) for a, b in itertools.pairwise(edges)], -1)
    np.testing.assert_allclose(series.means(values, length, edges), expected, atol=1e-12)
    several = np.array([[0, 5, 9], [30, 31, 42]])
    expected = [[by_step[..., a:b].mean(-1) for a, b in ((0, 5), (5, 9))]]
    expected += [[by_step[..., a:b].mean(-1) for a, b in ((30, 31), (31, 42))]]
    expected = np.moveaxis(np.array(expected), (0, 1), (-2, -1))
    np.testing.assert_allclose(series.means(values, length, several), expected, atol=1e-12)


@pytest.mark.parametrize("length", [1, 8, 10])
def test_what_happens_at_changes_is_at_offset_0(length):
    """A bump of a hundredth of a phase right after each change, other things in the first phase."""
    phase, changes = 1000, 6
    by_step = np.zeros(phase * (changes + 1))
    for k in range(1, changes + 1):
        by_step[k * phase : k * phase + 10] = k
    by_step[:phase] = 100.0  # learning from nothing
    cycles = by_step[: len(by_step) // length * length].reshape(-1, length).mean(-1)
    found = series.aligned(np.stack([cycles, 2 * cycles]), length, phase)
    edges = series.offset_edges(phase)
    assert (edges[0], edges[-1]) == (-200, 800)
    assert found.shape == (2, changes - 1, series.OFFSETS)  # all but the first have whole stretches
    at = np.flatnonzero(edges == 0)[0]
    np.testing.assert_allclose(found[0].sum(-1), np.arange(2, changes + 1), rtol=1e-9)
    smeared = found[0][:, at - 1 : at + 2].sum(-1)  # into the cycles around it at most
    np.testing.assert_allclose(smeared, np.arange(2, changes + 1), rtol=1e-9)
    if 10 % length == 0:
        np.testing.assert_allclose(found[0][:, at], np.arange(2, changes + 1), rtol=1e-9)
    np.testing.assert_allclose(found[1], 2 * found[0])
    assert not series.aligned(cycles[: 2 * phase // length], length, phase).size


def test_recovery_is_the_first_window_that_is_good_enough():
    phase = 1000  # so that a window has 20 steps
    reward = np.full((2, 4 * phase), -1.0)
    reward[0, :phase] = 1.0  # no change comes before the first phase
    reward[0, phase + 300 : 2 * phase] = 1.0  # good after 300 steps: half of it 10 steps later
    reward[0, 2 * phase :] = 1.0  # at once
    found = series.recovery(reward, 1, phase, 0.0)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found[0], [310, 20, 20])
    np.testing.assert_array_equal(found[1], [phase] * 3)
    assert series.recovery(reward[:, : 2 * phase - 1], 1, phase, 0.0).shape == (2, 0)


def test_learning_curves_are_cut_evenly():
    for total, phase, width, count in (
        (1_000_192, 100_000, 10_000, 100),
        (10_000_128, 100_000, 100_000, 100),
        (30_000_000, 100_000, 300_000, 100),
        (4096, 100_000, 409.6, 10),
    ):
        edges = series.curve_edges(total, phase)
        np.testing.assert_allclose(np.diff(edges), width)
        assert len(edges) == count + 1 and edges[-1] <= total


# Intervals and answers.


def test_intervals():
    values = np.random.default_rng(1).normal(2.0, 0.1, 40)
    mean = two_colors_rows.mean_interval(values)
    assert mean.value == values.mean()
    error = values.std(ddof=1) / np.sqrt(40)
    np.testing.assert_allclose([mean.low, mean.high], mean.value + error * 1.96 * np.array([-1, 1]),
                               atol=0.3 * error)  # fmt: skip
    ratio = two_colors_rows.ratio_interval(values, values / 2)
    assert ratio.value == pytest.approx(2) and ratio.low < 2 < ratio.high
    spread = 2 * np.sqrt(2) * error / mean.value  # both means vary
    np.testing.assert_allclose(ratio.high - ratio.low, 2 * 1.96 * spread, rtol=0.2)
    assert two_colors_rows.mean_interval(values[:1]) == Interval(values[0], None, None)
    assert two_colors_rows.ratio_interval(values, -values) is None
    assert two_colors_rows.ratio_interval(values, np.array([0.1, -0.05, 0.1])) is None


def row(family, values, context="none", value=None, start=None):
    reward = np.repeat(np.asarray(values, float)[:, None], 5, 1)
    start = start or {}
    name = "_".join([family, context, str(value), *(f"{x:g}" for x in start.values())])
    about = (name, name, family, start, family, context, "entropy", value)
    nothing, fine = np.zeros((len(reward), 0)), np.ones(len(reward), bool)
    return Row(*about, reward, nothing, fine, 10)


def test_answers():
    fixed = [row("fixed", [0.1, 0.11, 0.12], value=0.1), row("fixed", [0.0, 0.01], value=0.4)]
    mg = row("mg", [0.09, 0.13, 0.2], "reward")
    bmg = row("bmg", [0.2, 0.21, 0.22], "reward")
    answers = two_colors_answers.answers
    found = answers([*fixed, mg, bmg])
    assert found["tuning_beats_best_fixed"] == {
        "holds": True, "best": bmg.name, "baseline": fixed[0].name, "above": [bmg.name],
    }  # fmt: skip
    assert found["bmg_at_least_mg"]["holds"]
    assert not found["bmg_at_least_mg"]["contexts"]["reward"]["intervals_apart"]
    assert found["q_tuning_beats_best_fixed"] is None
    found = answers([*fixed, mg, row("bmg", [0.01, 0.02], "reward")])
    assert not found["tuning_beats_best_fixed"]["holds"]
    assert not found["bmg_at_least_mg"]["holds"]
    # Of one seed nothing is known, and contexts are not mixed.
    found = answers([fixed[0], row("bmg", [0.9], "rich"), mg])
    assert not found["tuning_beats_best_fixed"]["holds"] and found["bmg_at_least_mg"] is None
    assert set(answers([mg]).values()) == {None}
    # Q(lambda) is compared with its own fixed values.
    q = [row("q_fixed", [0.01, 0.02], value=0.3), row("q_bmg", [0.03, 0.04])]
    found = answers([*fixed, *q])
    assert found["tuning_beats_best_fixed"] is None
    assert found["q_tuning_beats_best_fixed"]["above"] == [q[1].name]


def test_bmg_and_mg_are_compared_start_by_start():
    low, high = {"entropy": 0.1}, {"entropy": 0.3}
    rows = [
        row("mg", [0.1, 0.2], start=low),
        row("mg", [0.5, 0.6], start=high),
        row("bmg", [0.3, 0.4], start=low),
        row("bmg", [0.3, 0.4], "rich", start=high),
    ]
    found = two_colors_answers.answers(rows)["bmg_at_least_mg"]
    assert found["holds"]
    assert list(found["contexts"]) == ["none (entropy 0.1)"]
    assert found["contexts"]["none (entropy 0.1)"]["mg"] == rows[0].name
    # Of two methods that nothing tells apart the better one counts.
    twice = [*rows[:2], row("bmg", [0.0, 0.1], start=low), rows[2]]
    assert two_colors_answers.answers(twice)["bmg_at_least_mg"] == found


def test_a_run_that_diverged_is_said_and_left_out_of_its_weights():
    path = np.linspace(0.1, 0.3, 30)[None].repeat(3, 0)
    path[1, 20:] = np.nan
    whole = row("mg", [0.1, 0.2, 0.3], "reward")._replace(tuned=path)
    assert whole.diverged.tolist() == [False, True, False]
    about = two_colors_summary.hyperparameter(whole)
    assert about["first_tenth"] == pytest.approx(path[0, :3].mean())
    assert about["last_tenth"] == pytest.approx(path[0, -3:].mean())
    none_left = whole._replace(tuned=path[1:2], reward=whole.reward[1:2], finite=whole.finite[1:2])
    assert "last_tenth" not in two_colors_summary.hyperparameter(none_left)
    assert two_colors_answers.diverged([whole]) == [
        f"{whole.label}: 1 of 3 runs diverged (NaN), and count with what they got."
    ]
    fixed = row("fixed", [0.1, 0.2], value=0.1)
    assert not two_colors_answers.diverged([fixed])
    lost = fixed._replace(finite=np.array([True, False]))
    assert "1 of 2 runs" in two_colors_answers.diverged([lost])[0]


def test_rows_that_have_everything_in_common_look_different():
    starts = [{"entropy": x} for x in (0.1, 0.2)]
    rows = [row("mg", [0.1], start=start) for start in starts] + [row("bmg", [0.1])]
    looks = [styles(rows)[one.name] for one in rows]
    assert looks[0]["color"] == looks[1]["color"] != looks[2]["color"]
    assert looks[0]["marker"] != looks[1]["marker"] and not looks[2]["marker"]


# A study that has run.


def test_published_numbers_are_for_the_published_task_only():
    rows = [row("fixed", [0.1, 0.2], value=0.1), row("fixed", [0.3, 0.4], value=0.2)]
    rows += [row("mg", [0.1, 0.2], "reward"), row("heads", [0.1], "reward")]
    one = two_colors_rows.Study(None, rows, [], 100_000, 0.279)
    found = published.of_rows(one)
    assert found.keys() == {rows[1].name, rows[2].name}
    assert found[rows[1].name] == (1.24, 0.09)
    assert not published.of_rows(one._replace(phase=PHASE))
