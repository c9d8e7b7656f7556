"""What the benchmarks measure, on runs small enough to count by hand."""

import numpy as np

from benchmarks import cartpole, population, tables
from benchmarks.population import Outcome


def outcome(ends, returns, greedy=((0.0,),)):
    return Outcome(np.array(ends, bool), np.array(returns, float), np.array(greedy), {}, {}, 0.0)


def test_solved_at_counts_steps_of_all_environments_in_time_order():
    """Two environments end an episode every step; the mean of 100 passes 1 after 60 ones of 2."""
    steps = 200
    returns = np.zeros((1, steps, 2))
    returns[0, 50:] = 2.0  # episodes 100, 101, ... return 2
    runs = outcome(np.ones((1, steps, 2)), returns)
    # 50 of the last 100 episodes are of return 2 once episode 149 has ended: row 74.
    assert population.solved_at(runs, 1.0)[0] == 75 * 2
    assert population.solved_at(runs, 2.5)[0] == np.inf


def test_greedy_at_is_the_first_evaluation_that_passes():
    ends = np.zeros((2, 50, 2))
    runs = outcome(ends, ends, [[1, 5, 3, 9], [0, 0, 0, 0]])
    np.testing.assert_array_equal(population.greedy_at(runs, 5.0), [50.0, np.inf])


def test_curves_weigh_steps_alike_and_carry_the_last_known_value():
    ends, returns = np.zeros((1, 120, 1)), np.zeros((1, 120, 1))
    ends[0, 1], returns[0, 1] = True, 4.0
    ends[0, 60:], returns[0, 60:] = True, 10.0
    curve = population.curves(outcome(ends, returns))
    np.testing.assert_array_equal(curve[0], [4.0] * 30 + [10.0] * 30)
    assert population.last_tenth(curve)[0] == 10.0


def test_intervals_hold_the_mean_and_shrink_with_seeds():
    rng = np.random.default_rng(0)
    few, many = (population.interval(rng.normal(5, 1, (3, n))) for n in (4, 400))
    for mean, low, high in (few, many):
        assert low < mean < high
    assert many[2] - many[1] < few[2] - few[1]
    median, low, high = population.median_interval(np.arange(21.0))
    assert median == 10
    assert low < 10 < high


def test_a_population_starts_where_it_is_told_and_is_tuned():
    settings = cartpole.settings_for("bmg", steps=1000)
    runs = population.run(settings, [3, 4], {"gamma": [0.5, 0.9]})
    np.testing.assert_allclose(runs.hyperparameters["gamma"][:, 0], [0.5, 0.9], atol=0.02)
    assert np.all(runs.hyperparameters["gamma"][:, 0] != runs.hyperparameters["gamma"][:, -1])
    assert runs.diagnostics["meta_gradient/gamma"].shape == runs.hyperparameters["gamma"].shape
    assert 1000 <= runs.env_steps < 1300


def test_tables_of_the_docs_are_the_results():
    for page in tables.PAGES:
        text = (tables.DOCS / page).read_text(encoding="utf-8")
        assert "<!-- end -->" in text
        assert tables.render(text) == text, f"{page} is out of date: python -m benchmarks.tables"
