"""Sizes that may not have been meant: what to expect of them is said, and nothing of usual ones."""

import re
from dataclasses import replace

import pytest

import run
import selftuning as st
from selftuning.configs import cli, keywords, presets
from selftuning.configs.expectations import warnings
from selftuning.configs.settings import RunSettings
from selftuning.configs.studies import StudySettings, differences
from selftuning.configs.validate import validate

ACTOR_CRITIC = "--preset actor_critic"
SAID = {
    f"{ACTOR_CRITIC} --inner-steps 1000 --steps 20000": (
        r"inner_steps 1000, target_steps 1: the first .* after 64,256 .* has 20,000: nothing is tu",
        r"every 4 updates a meta-gradient goes over 1001, about 250 times the work",
    ),
    f"{ACTOR_CRITIC} --inner-steps 90": ("about 23 times the work of training; --period 91 is",),
    f"{ACTOR_CRITIC} --meta mg --inner-steps 78": (),
    f"{ACTOR_CRITIC} --target-steps 1000 --period 1000 --steps 64000": ("nothing is tuned",),
    f"{ACTOR_CRITIC} --inner-steps 1000 --fix gamma --fix lambda --fix entropy --fix critic": (),
    "--preset stacx --heads 1000": ("heads 1000: each update computes the losses of 1000",),
    "--hidden 65536 65536": ("hidden 65536 65536: 4,294,967,296 parameters .* 17.2 GB",),
    "--rollout-length 100000 --num-envs 1000": (
        "after 200,000,000 environment steps, and this run has 100,000: nothing is tuned",
        "rollouts of 100,000,000 steps, .* has 1 of",
    ),
    "--inner-steps 40": (),
    "--context rich --meta-learning-rate 0.04": (
        r"context rich, meta_learning_rate 0\.04: .*; try --meta-learning-rate 0\.001$",
    ),
    "--context rich": (),
    "--context reward --meta-learning-rate 0.001": (),
    "--env TwoColors": (),
    "--num-envs 1024": (r"first meta-gradient comes after 262,144 .* has 100,000: nothing is",),
    "--num-envs 1024 --steps 140000": (),
    "--steps 1000": ("after 2,048 environment steps, and this run has 1,000: nothing is tuned",),
    "--target-steps 1000": (
        r"every 40 updates a meta-gradient goes over 4001, about 100 .*; --period 101 is 1 time",
    ),
    "--meta none --start gamma=0.9999": (r"values are about 100 times .* --outer gamma=0.9999 ",),
    "--meta none --start gamma=0.9999 --outer gamma=0.9999": (),
    "--meta none --start gamma=0.9999 --no-normalize-rewards": (),
    "--meta none --start gamma=1": ("gamma stays at 1, .* values are of any size",),
    "--meta none --outer gamma=0.9999": (r"at 0.99, .* values are about 0\.01 times",),
    "--meta none --outer gamma=1": ("at its outer value, 1, so that values are of any size",),
    "--fix gamma --tune lambda --start gamma=0.9999": ("values are about 100 times",),
    "--start gamma=0.7": (),
}


@pytest.mark.parametrize("flags", SAID)
def test_what_to_expect_is_said(flags):
    said = warnings(cli.parse(flags.split()).settings)
    assert len(said) == len(SAID[flags])
    for text, pattern in zip(said, SAID[flags], strict=True):
        assert re.search(pattern, text), text


@pytest.mark.parametrize("env", ["CartPole-v1", "TwoColors-v0", "ALE/Pong-v5", "Hopper-v5"])
@pytest.mark.parametrize("method", [None, *presets.METHODS])
def test_nothing_is_said_of_what_comes_with_the_project(env, method):
    settings = presets.for_env(env)
    assert not warnings(presets.with_method(settings, method) if method else settings)


def test_the_command_line_says_it_before_anything_else(monkeypatch, capsys):
    monkeypatch.setattr("selftuning.cli._run", lambda command: 0)
    assert run.main(["--preset", "stacx", "--heads", "500"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("warning: heads 500: each update")


def test_a_step_size_that_is_left_out_is_the_one_that_stands_for_it(tmp_path):
    """Directories that were begun when it was a number go on."""
    asked = {"num_envs": 2, "steps": 1000, "hidden": [8], "progress": False, "out": tmp_path}
    run = st.train("CartPole", **asked)
    config = run.directory / "config.yaml"
    text = config.read_text()
    assert text.count("learning_rate: null") == 1
    config.write_text(text.replace("learning_rate: null", "learning_rate: 0.04"))
    st.train("CartPole", **asked | {"steps": 2000})
    config.write_text(config.read_text().replace("optimizer: ftrl", "optimizer: adam"))
    changes = {"meta_optimizer": "adam", "meta_learning_rate": 0.1}
    with pytest.raises(st.ConfigError, match=r"has a run with meta_learning_rate 0\.04, not 0\.1"):
        st.train("CartPole", **asked | changes)
    one = StudySettings()
    tuning = replace(one.run.tuning, learning_rate=0.04)
    assert not [*differences(one, replace(one, run=replace(one.run, tuning=tuning)))]


def test_none_leaves_out_what_may_be_left_out():
    settings = keywords.run_settings(None, None, None, None, {"meta_learning_rate": None})
    assert settings == keywords.run_settings(None, None, None, None, {})
    for changes in ({"seed": None}, {"num_envs": None}):
        with pytest.raises(st.ConfigError, match="None is not allowed"):
            validate(replace(RunSettings(), **changes))
