"""What is said of all runs of a study reaches the runs of all methods."""

import pytest

from selftuning.configs import files, studies
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from tests.test_configs_studies import study


def test_what_all_start_with_reaches_methods_that_have_starts_of_their_own(tmp_path):
    """Fixed weights were once run with another regulariser than what they were compared with."""
    path = tmp_path / "mine.yaml"
    path.write_text("methods: {bmg: , pbt: , own: {of: none, starts: {entropy: [0.1, 0.2]}}}")

    def starts(*flags: str) -> dict[str, list[dict[str, float]]]:
        settings = study("--config", str(path), "--regularize", "l2_init", *flags).settings
        names = ("l2_init", "learning_rate", "entropy")
        return {
            method: [
                {name: started.hyperparameters[name].start for name in names}
                for start in studies.starts(settings, method)
                for started in [studies.started(studies.run_settings(settings, method), start)]
            ]
            for method in settings.methods
        }

    found = starts("--start", "l2_init=0.0001", "--start", "learning_rate=0.01")
    assert list(found) == ["bmg", "pbt", "own", "outer"]
    every = [start for each in found.values() for start in each]
    assert len(every) == 5
    assert {(x["l2_init"], x["learning_rate"]) for x in every} == {(0.0001, 0.01)}
    assert [x["entropy"] for x in found["own"]] == [0.1, 0.2]
    # Of several values a method has all, beside its own. A search and the outer values have one.
    found = starts("--start", "learning_rate=0.01,0.003", "--start", "entropy=0.3")
    rates = {method: [x["learning_rate"] for x in each] for method, each in found.items()}
    assert rates["bmg"] == [0.01, 0.003] and rates["own"] == [0.01, 0.01, 0.003, 0.003]
    assert [x["entropy"] for x in found["own"]] == [0.1, 0.2, 0.1, 0.2]
    default = RunSettings().hyperparameters["learning_rate"].start
    assert rates["pbt"] == rates["outer"] == [default]


def test_what_all_start_with_counts_more_than_what_methods_change():
    def rates(*flags):
        settings = study("--preset", "two-colors-full", *flags).settings
        return {
            studies.started(studies.run_settings(settings, name), start).in_use[key].start
            for name in settings.methods
            for start in studies.starts(settings, name)
        }

    key = "learning_rate"
    assert rates() == {0.1, 1e-3}
    assert rates("--start", "learning_rate=0.01") == {0.01}
    assert rates("--start", "learning_rate=0.01,0.02") == {0.01, 0.02}


def test_flags_count_more_than_presets_of_methods_as_in_a_single_run():
    flags = "--num-envs 32 --rollout-length 64 --regularize l2_init --fix gamma --period 2"
    flags += " --inner-optimizer sgd --tune entropy --bounds lambda=0.3:0.99"
    settings = study("--methods", "none,bmg,stacx,continual", *flags.split()).settings
    for name in settings.methods:
        made = studies.run_settings(settings, name)
        agent, specs = made.agent, made.hyperparameters
        assert (made.num_envs, agent.rollout_length, made.tuning.period) == (32, 64, 2)
        assert (agent.regularize, agent.inner_optimizer) == ("l2_init", "sgd")
        assert not specs["gamma"].tuned and specs["entropy"].tuned
        assert (specs["lambda"].low, specs["lambda"].high) == (0.3, 0.99)
    stacx = studies.run_settings(settings, "stacx")
    assert (stacx.agent.heads, stacx.tuning.method) == (3, "mg")  # as it is, where no flag says so


def test_a_flag_that_no_method_follows_is_refused():
    with pytest.raises(
        ConfigError, match=r"^--context: reward .* bmg has none, whatever flags say"
    ):
        study("--methods", "none,bmg", "--context", "reward")
    made = study("--methods", "bmg,bmg_reward", "--context", "reward").settings
    contexts = [studies.run_settings(made, name).tuning.context for name in made.methods]
    assert contexts == ["none", "reward", "none"]  # as they are called
    two_colors = study("--env", "TwoColors", "--methods", "mg").settings
    assert studies.run_settings(two_colors, "mg").tuning.context == "none"


def test_a_written_study_can_start_elsewhere(tmp_path):
    own, written = tmp_path / "own.yaml", tmp_path / "written.yaml"
    own.write_text("methods: {bmg: , own: {of: none, starts: {entropy: [0.1, 0.2]}}}")
    first = study("--config", str(own), "--start", "learning_rate=0.01,0.003").settings
    written.write_text(files.dump(first))
    again = study("--config", str(written), "--start", "learning_rate=0.0003").settings
    assert [x["entropy"] for x in studies.starts(again, "own")] == [0.1, 0.2]
    for name in ("bmg", "own"):
        for start in studies.starts(again, name):
            made = studies.started(studies.run_settings(again, name), start)
            assert made.hyperparameters["learning_rate"].start == 0.0003
    assert study("--config", str(written)).settings == first
    # A search from the starts of the study begins where these are.
    with pytest.raises(ConfigError, match="1 is not allowed; it must be 8 starts"):
        study("--preset", "methods", "--start", "gamma=0.9")


def test_flags_beside_a_written_study_are_followed_or_refused(tmp_path):
    path = tmp_path / "written.yaml"
    first = study("--methods", "none,stacx", "--num-envs", "32", "--fix", "gamma").settings
    path.write_text(files.dump(first))
    again = study("--config", str(path), "--period", "3").settings
    assert studies.run_settings(again, "stacx").tuning.period == 3
    with pytest.raises(
        ConfigError, match=r"num-envs: 16 is not allowed; it must be 32, which meth"
    ):
        study("--config", str(path), "--num-envs", "16")
    with pytest.raises(ConfigError, match=r"gamma.* is not allowed; it must be False, which meth"):
        study("--config", str(path), "--tune", "gamma")


def test_an_entry_under_the_name_of_a_method_says_what_is_different(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "methods: {none: {starts: {entropy: [0.1]}}, mg: {label: plain}, pbt: {search: "
        "{members: 4}}, outer: {label: best}, stacx: {changes: {agent: {heads: 2}}}, bmg: }"
    )
    settings = study("--config", str(path)).settings
    made = {name: studies.run_settings(settings, name) for name in settings.methods}
    tuned = {name: one.tuning.method for name, one in made.items() if name != "pbt"}
    assert tuned == {"none": "none", "mg": "mg", "outer": "none", "stacx": "mg", "bmg": "bmg"}
    kinds = settings.methods
    assert kinds["pbt"].kind == "pbt" and kinds["outer"].at_outer and made["stacx"].agent.heads == 2
    assert [kinds[name].label for name in ("none", "mg", "outer")] == ["no tuning", "plain", "best"]
    path.write_text(files.dump(settings))  # says all of them
    assert study("--config", str(path)).settings == settings


def test_arguments_of_one_environment_do_not_reach_another(tmp_path):
    path = tmp_path / "mine.yaml"
    kwargs = "{environment: {env_kwargs: {is_slippery: false}}}"
    path.write_text(f"run: {{env: [CliffWalking, FrozenLake]}}\ntasks: {{CliffWalking: {kwargs}}}")
    with pytest.raises(
        ConfigError, match=r"env.kwargs of CliffWalking: is_slippery is not allowed"
    ):
        study("--config", str(path))
    path.write_text(
        path.read_text().replace("[CliffWalking, FrozenLake]", "[FrozenLake, CliffWalking]")
    )
    one, two = studies.on_each(study("--config", str(path)).settings)
    assert one.run.environment.env_kwargs == {}
    assert two.run.environment.env_kwargs == {"is_slippery": False}
