"""What a study can be asked for: layers of settings, methods, starts, and mistakes."""

import dataclasses
import shlex

import pytest
import yaml

import run
from selftuning.configs import cli, files, presets, studies, study_checks
from selftuning.configs.errors import ConfigError
from selftuning.configs.searches import SearchSettings
from selftuning.configs.settings import AgentSettings, EnvSettings, RunSettings, TuningSettings
from selftuning.configs.study_cli import Study, StudyCompare, StudyReport, Where


def study(*arguments: str) -> Study:
    command = cli.parse(["study", *arguments])
    assert isinstance(command, Study)
    return command


def test_the_command_of_the_readme():
    flags = (
        "--env CartPole --methods none,mg,bmg --seeds 10 --steps 200000 "
        "--start gamma=0.7,0.9,0.99 --start entropy=0.003,0.03,0.3 --out DIR"
    )
    command = study(*shlex.split(flags))
    settings = command.settings
    assert list(settings.methods) == ["none", "mg", "bmg", "outer"]
    assert settings.starts == {"gamma": (0.7, 0.9, 0.99), "entropy": (0.003, 0.03, 0.3)}
    assert (settings.seeds, settings.run.steps, settings.run.env) == (10, 200_000, "CartPole")
    assert settings.run.agent == presets.for_env("CartPole-v1").agent
    assert (str(command.out), command.asked, command.where) == ("DIR", True, Where())
    starts = studies.starts(settings, "mg")
    assert len(starts) == 9
    assert starts[1] == {"gamma": 0.7, "entropy": 0.03}


def test_no_flags_ask_for_nothing():
    command = study()
    assert not command.asked
    assert command.settings == studies.StudySettings()
    assert not study("--out", "x", "--launcher", "ray", "--plan").asked
    assert study("--seeds", "3").asked
    assert study("--start", "gamma=0.9").asked


def test_every_flag_of_a_run_holds_for_a_study():
    flags = (
        "--num-envs 8 --seed 5 --hidden 7 --inner-steps 2 --fix lambda --bounds gamma=0.5:0.999 "
        "--outer entropy=0.02 --members 4 --budget member --methods none,mg,bmg,pbt"
    )
    settings = study(*shlex.split(flags)).settings
    assert (settings.run.num_envs, settings.run.seed, settings.run.agent.hidden) == (8, 5, (7,))
    assert settings.run.tuning.inner_steps == 2
    assert not settings.run.hyperparameters["lambda"].tuned
    assert settings.run.hyperparameters["gamma"].high == 0.999
    assert settings.run.hyperparameters["entropy"].outer == 0.02
    assert (settings.search.members, settings.search.budget) == (4, "member")


def test_help_names_methods_presets_and_flags(capsys):
    assert cli.parse(["study", "--help"]) is None
    shown = capsys.readouterr().out
    left = {"hyperparameters", "environment", "agent", "tuning", "devices", "extensions"}
    parts = [(RunSettings, left), (EnvSettings, {"wrappers"})]
    renamed = {"method", "optimizer", "learning_rate", "epsilon"}
    parts += [(AgentSettings, set()), (TuningSettings, renamed)]
    parts += [(SearchSettings, {"fitness", "interval"})]
    parts += [(studies.StudySettings, {"run", "methods", "starts", "search", "tasks", "anchors"})]
    names = {f.name for part, left in parts for f in dataclasses.fields(part) if f.name not in left}
    for name in names | {
        "meta_optimizer",
        "meta_epsilon",
        "extension",
        "launcher",
        "workers",
        "plan",
        "preset",
        "config",
    }:
        assert f"--{name.replace('_', '-')} " in shown
    for name in (*studies.METHODS, *studies.preset_names(), "report", "compare"):
        assert name in shown
    assert set(studies.ABOUT) == set(studies.METHODS)


def test_other_commands():
    assert cli.parse(["study", "report", "d"]) == StudyReport(cli.Path("d"))
    two = cli.parse(["study", "compare", "a", "b", "--out", "c"])
    assert two == StudyCompare(cli.Path("a"), cli.Path("b"), cli.Path("c"))


@pytest.mark.parametrize("name", studies.preset_names())
def test_presets_are_allowed_and_written_complete(name, tmp_path):
    settings = study("--preset", name).settings
    path = tmp_path / "study.yaml"
    path.write_text(files.dump(settings))
    again = studies.layered([files.read(path)])
    assert again == settings
    assert not list(studies.differences(again, settings))
    assert study("--config", str(path)).settings == settings


def test_the_outer_values_join_where_tuning_was_given_them(tmp_path):
    """A study that tunes has to beat what it was given; nobody has to remember to ask for it."""

    def methods(*flags):
        return list(study(*flags).settings.methods)

    assert methods() == ["none", "outer", "mg", "bmg"]
    assert methods("--methods", "none,bmg") == ["none", "bmg", "outer"]
    assert methods("--methods", "outer,bmg") == ["outer", "bmg"]
    assert methods("--methods", "none,bmg,-outer") == ["none", "bmg"]
    assert methods("--methods", "none,pbt") == ["none", "pbt"]  # judges by returns
    # The outer objective has no learning rate.
    only = ("--fix", "gamma", "--tune", "learning_rate")
    assert methods("--methods", "none,bmg", *only) == ["none", "bmg"]
    # Where its runs would not be allowed nothing joins.
    assert methods("--methods", "stacx", "--heads", "2") == ["stacx"]
    path = tmp_path / "mine.yaml"
    path.write_text("methods: {none: , bmg: , -outer: }")
    assert methods("--config", str(path)) == ["none", "bmg"]
    path.write_text("methods: [bmg, -outer]")
    assert methods("--config", str(path)) == ["bmg"]
    # The file of a study that was begun has the methods that it has.
    path.write_text(files.dump(study("--methods", "none,bmg,-outer").settings))
    assert methods("--config", str(path)) == ["none", "bmg"]
    assert methods("--config", str(path), "--methods", "bmg") == ["bmg", "outer"]


def test_layers_change_each_other(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "run": {"env": "Acrobot", "tuning": {"target_steps": 3}, "steps": 1000},
                "methods": {
                    "none": None,
                    "long": {"of": "bmg", "changes": {"tuning": {"period": 16}}},
                    "fast": {"of": "bmg", "label": "bmg, fast", "starts": {"gamma": [0.9]}},
                    "own": {"changes": {"tuning": {"method": "mg"}}},
                },
                "starts": {"gamma": [0.5, 0.7], "entropy": [0.1]},
                "seeds": 7,
            },
            sort_keys=False,
        )
    )
    settings = study("--config", str(path), "--steps", "2000").settings
    assert settings.run.env == "Acrobot"
    # What the file leaves out is the environment's preset.
    acrobot = presets.for_env("Acrobot")
    assert settings.run.tuning == dataclasses.replace(acrobot.tuning, target_steps=3)
    assert (settings.run.steps, settings.seeds) == (2000, 7)
    long, fast, own = (studies.run_settings(settings, name) for name in ("long", "fast", "own"))
    assert (long.tuning.method, long.tuning.period, long.tuning.target_steps) == ("bmg", 16, 3)
    assert fast.tuning == dataclasses.replace(settings.run.tuning, method="bmg")
    assert own.tuning.method == "mg"
    assert [settings.methods[n].label for n in settings.methods] == [
        "no tuning",
        "long",
        "bmg, fast",
        "own",
        "fixed at the outer values",
    ]
    assert len(studies.starts(settings, "long")) == 2
    assert studies.starts(settings, "fast") == [{"gamma": 0.9}]
    assert fast.hyperparameters["entropy"].start == 0.1  # as all others
    # Methods of the file can be picked by name, and a grid of flags replaces that of the file.
    picked = study("--config", str(path), "--methods", "mg,long", "--start", "gamma=0.8").settings
    assert list(picked.methods) == ["mg", "long", "outer"]
    assert picked.methods["long"] == settings.methods["long"]
    assert picked.starts == {"gamma": (0.8,)}
    assert study("--config", str(path), "--env", "CartPole").settings.run.env == "CartPole"


@pytest.mark.parametrize(("algorithm", "more"), [("ppo", {"clip"}), ("actor_critic", set())])
def test_the_outer_values_are_a_start_of_their_own(algorithm, more):
    flags = f"--algorithm {algorithm} --methods none,outer --start gamma=0.5,0.7"
    settings = study(*flags.split()).settings
    (start,) = studies.starts(settings, "outer")
    assert start == {n: settings.run.hyperparameters[n].outer for n in start}
    assert set(start) == {"gamma", "lambda", "policy", "critic", "entropy"} | more
    assert studies.run_settings(settings, "outer").tuning.method == "none"


def test_what_no_method_moves_is_the_same_at_the_outer_values(tmp_path):
    """Two Colors has a lambda of 0.5, and 0.9 in the outer objective; nothing tunes it."""

    def kept(*flags):
        settings = study("--env", "TwoColors", "--out", str(tmp_path / "a"), *flags).settings
        return studies.starts(settings, "outer")[0]

    assert kept() == {"gamma": 0.99, "policy": 1.0, "entropy": 0.14, "critic": 0.5}
    assert kept("--tune", "lambda")["lambda"] == 0.9
    assert kept("--start", "lambda=0.5,0.7")["lambda"] == 0.9
    assert "lambda" not in kept("--start", "lambda=0.6")  # where all start
    assert kept("--start", "entropy=0.1")["entropy"] == 0.14  # which is tuned


def searching(tmp_path, kind="pbt", **changes):
    """A study with a search that begins with four starts."""
    method = {"of": kind, "starts": {"gamma": [0.5, 0.9], "lambda": [0.7, 0.8]}, **changes}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"methods": {"mine": method, "bmg": None}}))
    settings = study("--config", str(path), "--start", "gamma=0.8").settings
    study_checks.check(settings)
    return settings


def test_a_search_can_have_a_budget_and_starts_of_its_own(tmp_path):
    settings = searching(tmp_path, search={"members": 4, "budget": "member"})
    assert studies.search_settings(settings, "mine") == dataclasses.replace(
        settings.search, members=4, budget="member"
    )
    assert studies.search_settings(settings, "bmg") == settings.search
    starts = studies.member_starts(settings, "mine")
    assert [tuple(start.values()) for start in starts] == [
        (0.5, 0.7),
        (0.5, 0.8),
        (0.9, 0.7),
        (0.9, 0.8),
    ]
    assert studies.starts(settings, "mine") == [{}]
    assert studies.member_starts(settings, "bmg") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"methods.mine.starts: 4 is not allowed; it must be 8 starts, one for each member"),
        ({"search": {"members": 1}}, r"members: 1 is not allowed"),
        ({"search": {"member": 4}}, r"methods.mine.search"),
        ({"kind": "optuna", "search": {"members": 4}}, r"methods.mine.starts: 4 .* none: Optuna"),
        ({"starts": {"foo": [1.0]}}, r"start: foo=1 of mine is not allowed"),
    ],
)
def test_searches_that_are_not_allowed_say_so(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        searching(tmp_path, **changes)


MISTAKES = {
    "--methods foo": "methods: 'foo' is not allowed; it must be some of none, outer",
    "--methods mg,mg": "methods: mg is there twice",
    "--methods ,": "--methods: 0 is not allowed",
    "--preset x": "preset: 'x' is not allowed; it must be backends |",
    "--preset stacx": "preset: 'stacx' is one of single runs",
    "--start gamma": "--start: 'gamma' is not of the form NAME=VALUE,VALUE,...",
    "--start gamma=a,1": "--start: 'gamma=a,1': not all of its values are numbers",
    "--start gamma=0.5 --start gamma=0.7": "--start gamma: said twice; separate its values",
    "--start gamma=1": "--start gamma: 1 is outside its bounds",
    "--start gamma=0.5,2 --methods none": "--start gamma: 2.0 is not allowed",
    " ".join(f"--start {name}={'0.5,' * 99}0.5" for name in ("gamma", "lambda", "entropy")): (
        "--start: 1,000,000 combinations for none is not allowed; it must be at most 10,000"
    ),
    "--start foo=1": "start: foo=1 of none is not allowed; it must be one of gamma",
    "--start epsilon=0.1": "start: epsilon=0.1 of none is not allowed",
    "--seeds 0": "seeds: 0 is not allowed",
    "--seeds 1.5": "1.5",
    "--seed 2147483647": "seed: 2147483647 is not allowed",
    "--points 0": "points: 0 is not allowed",
    "--evaluations 61": "evaluations: 61 is not allowed; it must be a whole number between 0",
    "--block 0": "block: 0 is not allowed",
    "--target nan": "target: nan is not allowed; it must be a finite number",
    "--workers 0": "workers: 0 is not allowed",
    "--address localhost:1": "address: localhost:1 is not allowed; it must be left out",
    "--launcher slurm": "slurm",
    "--meta mg": "--meta",
    "--devices 2": "--devices",
    "--steps 0": "steps: 0 is not allowed",
    "--members 1 --methods pbt": "members: 1 is not allowed",
    "--methods pbt --fix gamma --fix lambda --fix entropy": "none for pbt",
    "--methods optuna --tune entropy --bounds entropy=0:1": "--bounds entropy: 0:1 is not allowed",
    "--methods stacx --heads 2": "",
    "--methods stacx --heads 2 --correction none": "--correction: none is not allowed; it must be",
    "--methods pbt,random_search --start gama=0.5": "start: gama=0.5 is not allowed; it must be",
    "--methods pbt --start learning_rate=0.1,0.3": "left out: no method starts there",
    "--methods outer --start gamma=0.5": "start: gamma=0.5 is not allowed; it must be left",
    "--methods none,bmg --on-divergence halve": "on-divergence: halve is not allowed; it must be",
    "--config missing.yaml": "cannot read missing.yaml",
    "report": "DIRECTORY",
    "compare a": "TWO",
    "other": "unexpected argument 'other'",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not MISTAKES[arguments]:
        assert study(*arguments.split())
        return
    assert run.main(["study", *arguments.split()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert MISTAKES[arguments] in error
    assert not list(tmp_path.iterdir())


FILES = {
    "sed: 3": "unknown field sed",
    "run: {stepz: 3}": "unknown field run.stepz",
    "run: {steps: 1.5}": "run.steps: 1.5 is not allowed; it must be a whole number",
    "run: 3": "run: 3 is not allowed; it must be a mapping",
    "methods: {x: {of: mg, changes: {tuning: {foo: 1}}}}": "unknown field tuning.foo",
    "methods: {x: {of: foo}}": "methods: 'foo' is not allowed",
    "methods: {x: {of: mg, changs: 1}}": "unknown field changs",
    "methods: {x: 3}": "methods.x: 3 is not allowed; it must be a mapping",
    "methods: 3": "methods: 3 is not allowed",
    "methods: {'a/b': {of: mg}}": "names of letters, digits, - and _",
    "methods: {x: {of: mg, kind: magic}}": "magic",
    "starts: {gamma: [a]}": "starts.gamma: 'a' is not allowed",
    "methods: {x: {of: mg, changes: {env: Acrobot}}}": "methods.x.changes.env: 'Acrobot' is not",
    "methods: {x: {of: mg, changes: {steps: 3}}}": "methods.x.changes.steps: 3 is not allowed",
    "methods: {x: {of: mg, changes: {environment: {env_kwargs: {}}}}}": "environment.env_kwargs",
    "methods: {" + "x" * 150 + ": {of: mg}}": "of at most 100 bytes",
    "starts: {gamma: []}": "start: 0 combinations for none is not allowed",
    "starts: {gamma: [0.9, .nan]}": "start of gamma: nan is not allowed",
    "starts: {entropy: [1, 1e-300, 2]}": "start of entropy: 1e-300 is not allowed",
    "search: {members: 1}": "members: 1 is not allowed",
    "- 1": "holds no settings",
    "{": "is not YAML",
}


@pytest.mark.parametrize("text", FILES)
def test_a_mistake_in_a_file_gets_one_line(text, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        study("--config", str(path))
    assert FILES[text] in str(caught.value)


def test_a_file_may_name_the_method_that_its_runs_start_from():
    text = {"run": {"env": "CartPole-v1", "preset": "actor_critic", "num_envs": 6}}
    found = studies.layered([text]).run
    expected = presets.with_method(presets.for_env("CartPole-v1"), "actor_critic")
    assert found == dataclasses.replace(expected, num_envs=6)
    with pytest.raises(ConfigError, match=r"preset: 'a2c' .* actor_critic"):
        studies.layered([{"run": {"preset": "a2c"}}])


@pytest.mark.parametrize(
    ("flags", "question"),
    [
        ("", False),
        ("--seeds 3 --steps 1e5 --workers 2 --hidden 8", False),
        *((flags, True) for flags in ("--preset cartpole-quick", "--env CartPole")),
        *((flags, True) for flags in ("--methods none,bmg", "--start gamma=0.7", "--tune lambda")),
    ],
)
def test_a_study_has_a_question(flags, question):
    assert cli.parse(["study", *flags.split()]).question is question


def test_without_a_question_nothing_is_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for flags in ([], ["--seeds", "2"], ["--out", "new"]):
        assert run.main(["study", *flags]) == 2
        assert capsys.readouterr().err.startswith("error: study: there is no question; say what")
    assert list(tmp_path.iterdir()) == []
