"""Command lines as data: what flags mean, and what mistakes are answered with."""

import dataclasses
import re

import numpy as np
import pytest

import run
from selftuning.configs import cli, files, keywords, presets, studies
from selftuning.configs.errors import ConfigError
from selftuning.configs.hyperparameters import default_hyperparameters
from selftuning.configs.settings import AgentSettings, EnvSettings, RunSettings, TuningSettings
from selftuning.configs.validate import validate


def settings_of(*arguments: str) -> RunSettings:
    command = cli.parse(arguments)
    assert isinstance(command, cli.Train)
    return command.settings


def test_no_flags_are_the_defaults():
    assert cli.parse([]) == cli.Train(presets.for_env(RunSettings.env), None)


def test_every_setting_has_a_flag(capsys):
    assert cli.parse(["--help"]) is None
    shown = capsys.readouterr().out
    names = {f.name for part in (RunSettings, AgentSettings) for f in dataclasses.fields(part)}
    names |= {f.name for f in dataclasses.fields(TuningSettings)}
    names |= {f.name for f in dataclasses.fields(EnvSettings)}
    names -= {"hyperparameters", "environment", "agent", "tuning"}
    names -= {"method", "optimizer", "learning_rate", "epsilon", "extensions", "wrappers"}
    names |= {
        "wrapper",
        "extension",
        "meta",
        "meta-optimizer",
        "meta-learning-rate",
        "meta-epsilon",
        "out",
        "config",
        "start",
        "fix",
        "tune",
        "bounds",
    }
    for name in names:
        assert f"--{name.replace('_', '-')} " in shown
    for default in ("CartPole-v1", "100000", "bmg", "gamma=0.99"):
        assert default in shown


def test_flags_change_their_settings_alone():
    arguments = "--env Acrobot --meta mg --seed 3 --steps 1e4 --num-envs 4 --backend host"
    arguments += " --hidden 32 16 --rollout-length 5 --inner-steps 2"
    arguments += " --meta-optimizer adam --meta-learning-rate 0.1"
    preset = presets.for_env("Acrobot-v1")
    changed = {"method": "mg", "optimizer": "adam", "learning_rate": 0.1, "inner_steps": 2}
    expected = RunSettings(
        env="Acrobot",
        seed=3,
        steps=10_000,
        num_envs=4,
        backend="host",
        agent=dataclasses.replace(preset.agent, hidden=(32, 16), rollout_length=5),
        tuning=dataclasses.replace(preset.tuning, **changed),
    )
    assert settings_of(*arguments.split()) == expected


def test_hyperparameter_flags():
    arguments = "--start gamma=0.7 --start lambda=1 --fix lambda --tune learning_rate"
    arguments += " --bounds gamma=0.5:0.9999 --outer entropy=0.02"
    changed, default = settings_of(*arguments.split()).hyperparameters, default_hyperparameters()
    replace = dataclasses.replace
    assert changed["gamma"] == replace(default["gamma"], start=0.7, low=0.5, high=0.9999)
    assert changed["lambda"] == replace(default["lambda"], start=1.0, tuned=False)
    assert changed["learning_rate"] == replace(default["learning_rate"], tuned=True)
    assert changed["entropy"] == replace(default["entropy"], outer=0.02)
    assert changed["critic"] == default["critic"]


def test_eval_takes_the_settings_of_the_run(tmp_path):
    written = settings_of("--hidden", "7", "--seed", "5")
    (tmp_path / "config.yaml").write_text(files.dump(written))
    assert cli.parse(["eval", str(tmp_path)]) == cli.Evaluate(tmp_path, written, False, False)
    command = cli.parse(["eval", str(tmp_path), "--episodes", "7", "--seed", "2", "--video"])
    changed = dataclasses.replace(written, seed=2, eval_episodes=7)
    assert command == cli.Evaluate(tmp_path, changed, True)
    with pytest.raises(ConfigError, match=r"^--episodes: -1 is not allowed"):
        cli.parse(["eval", str(tmp_path), "--episodes", "-1"])


def test_flags_override_a_config_file_and_the_rest_of_it_stays(tmp_path):
    written = settings_of("--start", "gamma=0.123456789012345", "--hidden", "7", "--seed", "5")
    path = tmp_path / "config.yaml"
    path.write_text(files.dump(written))
    assert settings_of("--config", str(path)) == written
    assert settings_of("--config", str(path), "--seed", "6", "--start", "critic=0.2").seed == 6


def test_presets_are_allowed_settings():
    for env in ("CartPole-v1", "Pendulum", "LunarLander-v3", "Hopper-v5", "ALE/Pong-v5", "Taxi"):
        validate(presets.for_env(env))
    others = dataclasses.replace(
        presets.for_env("Pendulum"), env="CartPole-v1", steps=RunSettings.steps
    )
    assert others == RunSettings(), "presets of tasks say how long a run is, and nothing else"


def environments_of(*arguments, **keyword_arguments):
    """Numbers of environments on the command line, from Python and in a study."""
    run = {"env": "CartPole-v1", **keyword_arguments}
    by_keywords = keywords.run_settings(None, "CartPole-v1", None, None, keyword_arguments)
    study = studies.layered([{"run": run}]).run
    return settings_of(*arguments).num_envs, by_keywords.num_envs, study.num_envs


def test_longer_runs_have_more_environments():
    for steps, expected in ((100_000, 8), (2048 * 1024, 8), (2048 * 1024 + 1, 16), (10**7, 64)):
        assert environments_of("--steps", str(steps), steps=steps) == (expected,) * 3
    assert presets.for_env("Hopper-v5", 10**400).num_envs == presets.MOST_ENVS
    assert presets.for_env("gymnax:Asterix-MinAtar").num_envs == 64  # for as long as it says itself
    by_numpy = keywords.run_settings(None, "CartPole-v1", None, None, {"steps": np.int64(10**7)})
    assert by_numpy.num_envs == 64


def test_who_says_how_many_environments_has_as_many(tmp_path):
    said = environments_of("--steps", "10000000", "--num-envs", "5", steps=10**7, num_envs=5)
    assert said == (5, 5, 5)
    assert presets.for_env("TwoColors-v0", 10**7).num_envs == 1  # as its papers have it
    assert settings_of("--preset", "actor_critic", "--steps", "10000000").num_envs == 4
    path = tmp_path / "config.yaml"  # of a run that goes on for longer
    path.write_text(files.dump(settings_of("--steps", "100000")))
    assert settings_of("--config", str(path), "--steps", "10000000").num_envs == 8


BAD = {
    "--gama 3": "--gama",
    "--step 100": "--steps",  # the closest name
    "--steps": "--steps",
    "--steps many": "--steps: 'many' .* a whole number",
    "--steps 1.5": "--steps: '1.5' .* a whole number",
    "--steps 0": "--steps: 0 .* between 1",
    "--steps -5": "--steps: -5",
    "--seed -1": "--seed: -1",
    "--num-envs 0": "--num-envs: 0",
    "--num-envs 999999999": "--num-envs: 999999999",
    "--eval-episodes 0": "--eval-episodes: 0",
    "--rollout-length 0": "--rollout-length: 0",
    "--hidden 0": "--hidden: 0",
    "--max-grad-norm nan": "--max-grad-norm: nan",
    "--meta-learning-rate 0": "--meta-learning-rate: 0.0",
    "--meta sgd": r"--meta: 'sgd' .* none \| mg \| bmg",
    "--backend tpu": r"--backend: 'tpu' .* auto \| jax \| host",
    "--env A --env B": "--env",
    "--start gamma=1.5": "--start gamma: 1.5 .* between 0 and 1",
    "--start gamma=nan": "--start gamma: nan",
    "--start entropy=-1": "--start entropy: -1",
    "--start critic=inf": "--start critic: inf",
    "--meta None": r"--meta: 'None' .* none \| mg \| bmg",
    "--max-grad-norm none": "--max-grad-norm: 'none' .* a number",
    "--hidden 5.5": "--hidden: '5.5' .* a whole number",
    "--hidden [8,8]": r"--hidden: '\[8,8\]' .* a whole number",
    "--hidden none": "--hidden: 'none'",
    "--hidden": "--hidden: has no value; it must be whole numbers",
    "--steps 0x10": "--steps: '0x10'",
    "--steps 1e400": "--steps: '1e400'",
    "--value-weight 1e400": "--value-weight: '1e400'",
    "--value-weight 1e300": r"--value-weight: 1e\+300 .* 3.4e\+38",
    "--start critic=1e-300": "--start critic: 1e-300",
    "--overlap true": "unexpected argument 'true'; a switch is --NAME",
    "--overlap=maybe": r"--overlap: 'maybe' .* true \| false",
    "--out=": "--out: ''",
    "--env=": "--env: ''",
    "--config=": "--config: ''",
    f"--env {'x' * 300}": "--env: 'xxx.* at most 150 bytes",
    f"--out {'x' * 300}": "--out: 'xxx.* at most 255 bytes",
    "--env-kwargs a=017": "--env-kwargs a: 017 .* a decimal number",
    "--env-kwargs a=*x": "--env-kwargs a: is not YAML",
    "--env-kwargs a=1 a=2": "--env-kwargs a: said twice",
    "--learning-rate 0.1": "did you mean --start learning_rate=VALUE",
    "--gamma 0.9": "did you mean --start gamma=VALUE",
    "--lr=0.1": "--lr: there is no such flag; did you mean --start learning_rate=VALUE",
    "--total-timesteps 5": "did you mean --steps",
    "--start learning-rate=0.1": "did you mean learning_rate",
    "--start momentum=0.5 --inner-optimizer rms": "--start momentum: 0.5 .* .momentum . adam",
    "--start epsilon=0.5": "--start epsilon: 0.5 .* algorithm ppo .q_lambda would",
    "--bounds lambda=0.1:0.9": "--bounds lambda: 0.1:0.9 .* unless it is tuned .--tune lambda",
    "--meta none --period 3": "--period: 3 .* with meta none",
    "--meta none --tune gamma": "--tune: gamma .* with meta none",
    "--preset actor_critic --normalization-reset 2": "--normalization-reset: 2.0 .* than 512 steps",
    "--no-normalize-observations --normalization-reset 2": "--normalization-reset: 2.0 .* without",
    "study --meta bmg": "--meta: there is no such flag",
    "study --members 4": "--members: 4 .* without a method that searches",
    "study --methods none,mg --outer-kl 2 --matching kl": "--matching: kl .* with m",
    "study --methods": "--methods: has no value",
    "study report": "study report: DIRECTORY is missing",
    "study report a b": "unexpected argument 'b'; study report takes no more",
    "bench --num-envs 5.5": "--num-envs: '5.5' .* a whole number",
    "bench --num-envs none": "--num-envs: 'none'",
    "convex --draws none": "--draws: 'none' .* a whole number",
    "convex --problem None": "--problem: None",
    "--meta-learning-rate 0.1": "--meta-learning-rate: 0.1 is not allowed; it must be left out",
    "--start gamma=0.05": "--start gamma: 0.05 is outside its bounds 0.1:0.9999",
    "--tune lambda --start lambda=1 --bounds lambda=0.1:1": "--start lambda: 1 cannot be tuned",
    "--start gamma=high": "'high'",
    "--start gamma": "NAME=VALUE",
    "--start lr=0.1": "'lr'; did you mean learning_rate",
    "--start gamma=0.5 --start gamma=0.6": "gamma: said twice",
    "--fix discount": "'discount'; did you mean gamma",
    "--fix gamma --tune gamma": "gamma",
    "--bounds gamma=0.9:0.5": "--bounds gamma: 0.9:0.5",
    "--bounds gamma=0.5:1.5": "--bounds gamma: 1.5",
    "--bounds gamma=0.5": "NAME=LOW:HIGH",
    "--outer gamma=2": "--outer gamma: 2",
    "--outer learning_rate=0.1": "learning_rate is no part of the outer objective",
    "--outer momentum=0.1": "momentum is no part of the outer objective",
    "--start momentum=1": "--start momentum: 1.0 .* between 0 and 0.9999",
    "--tune momentum --inner-optimizer rms": r"--inner-optimizer: rms .* momentum \| adam",
    "--tune hint_weight --inner-optimizer adam": "--inner-optimizer: adam .* accelerated",
    "--inner-optimizer sgdm": r"--inner-optimizer: 'sgdm' .* sgd \| momentum",
    "--meta-optimizer sgd": r"--meta-optimizer: 'sgd' .* adam \| ogd",
    "--meta-optimizer ao_ftrl --tune learning_rate": "--meta-optimizer: ao_ftrl .* omega to tune",
    "--trust-region 0": "--trust-region: 0.0",
    "--config no/such/file.yaml": "no/such/file.yaml",
    "evaluate runs/1": "'evaluate runs/1'",
    "eval": "RUN",
    "eval a --episodes few": "'few'",
    "eval a --steps 5": "--steps",
    "eval no/such/run --video": "no/such/run",
    "--env NoSuchEnvironment --steps 4096": "NoSuchEnvironment",
    "--env CartPol --steps 4096": "--env: .*CartPole",
    "--env Pendulum --backend jax --steps 4096": "--backend: 'jax'",
    "--env Pendulum --preset q_lambda": "--preset q_lambda: agent.algorithm: .* for actions Box",
    "--env ContinualCartPole --env-kwargs change=up": "--env-kwargs change: 'up' is not allowed",
    "--env Pendulum --env-kwargs gravty=3 --steps 4096": "--env-kwargs gravty: Pendulum-v1 has",
    "--env Pendulum --torso conv": "--torso: conv .* for observations Box",
    "--env Pendulum --regularize barrier": "--regularize: barrier .* for continuous actions, Box",
    "--preset q_lambda --regularize barrier": "--regularize: barrier .* has no policy",
    "--preset q_lambda --tune barrier": "--preset q_lambda: agent.algorithm: .* to tune barrier",
    "--start barrier=0.1": "--start barrier: 0.1 .* with regularize none .barrier would",
    "--env Blackjack-v1 --backend nowhere": "nowhere",
}


@pytest.mark.parametrize("arguments", BAD)
def test_a_mistake_gets_one_line_and_exit_code_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("selftuning.training.compilation_cache.enable", lambda: None)
    assert run.main(arguments.split()) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ") and output.err.count("\n") == 1
    assert re.search(BAD[arguments], output.err), output.err
    assert not list(tmp_path.iterdir())


LAUGHS = "a: &a0 [1, 1]\n" + "".join(f"b{i}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40))

BAD_FILES = {
    "steps: many": "steps",
    "stepps: 5": "stepps",
    "steps: 1.5": "steps",
    "steps: 0": "steps: 0",
    "num_envs: true": "num_envs",
    "agent: {hidden: 64}": "hidden",
    "agent: {activation: sine}": "activation",
    "tuning: {learning_rate: fast}": "learning_rate|fast",
    "hyperparameters: {gamma: {start: a}}": "gamma",
    "hyperparameters: {gamma: 0.5}": "gamma",
    "hyperparameters: {gama: {start: 0.5}}": "unknown hyperparameter gama",
    "hyperparameters: 3": "hyperparameters",
    "- 1": "mapping",
    "": "mapping",
    "a: [1": "not YAML",
    "\x00": "not YAML",
    "agent: {1: 2}": "agent: the key 1 .* text",
    "true: 2": "the key true",
    "? [a]\n: 1": "the key a list",
    "steps: 5\nseed: 1\nsteps: 6": "steps: said twice, in lines 1 and 3",
    "steps: 017": "steps: 017 .* a decimal number",
    "steps: 1:30": "steps: 1:30 .* a decimal number",
    "steps: 0x10": "steps: 0x10 .* a decimal number",
    "steps: !!int 017": "steps: 017",
    "agent: {max_grad_norm: 1e400}": "agent.max_grad_norm: 1e400 .* .inf",
    "agent: &x {hidden: *x}": "agent.hidden: an alias",
    "steps: !!python/object:os.system {}": "steps: .*python/object",
    "[" * 2000: "more than 50 levels",
    "- " * 2000: "more than 50 levels",
    "{a: " * 2000: "more than 50 levels",
    LAUGHS: "so large a value",
    "seed: " + "9" * 5000: "not YAML: Exceeds",
    "a: " + "1, " * 100_000: "too large for settings: more than 250,000 bytes",
    "? " + "x" * 200_000 + "\n: 1": "unknown field xxx",
    "extensions: [1]": "config.yaml: extensions: 1 is not allowed",
    "tuning: {learning_rate: 0}": "config.yaml: tuning.learning_rate: 0.0",
    "agent: {value_weight: {a: [b]}}": "value_weight",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_config_file_names_its_field(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=BAD_FILES[text]) as error:
        cli.parse(["--config", str(path)])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "flags", "said"),
    [
        ("agent: {regularize: barrier}", "", "FILE: agent.regularize: barrier is not allowed"),
        ("{}", "--regularize barrier", "--regularize: barrier is not allowed"),
        ("{}", "--preset q_lambda --tune barrier", "--preset q_lambda: agent.algorithm: q_lambda"),
        (
            "{}",
            "--preset continual",
            "--preset continual: agent.regularize: barrier is not allowed",
        ),
        ("environment: {env_kwargs: {h: 3}}", "", "FILE: env_kwargs of h: Pendulum-v1 has no such"),
        ("{}", "--env-kwargs h=3", "--env-kwargs h: Pendulum-v1 has no such"),
        ("{}", "--save-environments --env CartPole", "--save-environments: true is not allowed"),
    ],
)
def test_what_a_task_does_not_allow_is_named_where_it_was_said(text, flags, said, tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text(f"env: Pendulum\n{text.replace('{}', '')}\n")
    arguments = ["--config", str(path), *flags.split(), "--out", str(tmp_path / "run")]
    assert run.main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"error: {said.replace('FILE', str(path))}")


def test_numbers_in_a_config_file_may_be_written_as_people_do(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("tuning: {learning_rate: 1e-3}\nagent: {max_grad_norm: 1, hidden: [8]}\n")
    settings = files.load(path)
    assert settings.tuning.learning_rate == 1e-3
    assert settings.agent.max_grad_norm == 1.0 and settings.agent.hidden == (8,)
