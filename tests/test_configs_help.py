"""`--help` shows the defaults that apply to what the same line names, and where they are from."""

import dataclasses

import pytest

from selftuning.configs import cli, files, help_defaults
from selftuning.configs.settings import RunSettings
from selftuning.configs.settings_flags import PARTS

LINES = (
    "",
    "--env LunarLander",
    "--env=TwoColors",
    "--preset actor_critic",
    "--env Acrobot --preset stacx",
    "--preset=q_lambda --env ALE/Pong-v5",
    "--env Acrobot --steps 10_000_000",
    "--env CartPole --steps=1e7 --preset actor_critic",
)


def shown(capsys, *arguments):
    assert cli.parse([*arguments, "--help"]) is None
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def default_of(said, flag):
    """What stands behind a flag, up to its default."""
    return said.partition(f" --{flag} ")[2].partition("[default: ")[2].partition("]")[0]


@pytest.mark.parametrize("line", LINES)
def test_what_is_shown_is_what_a_run_would_have(line):
    settings = cli.parse(line.split()).settings
    with help_defaults.applied([*line.split(), "--help"]):
        for prefix, kind in PARTS.items():
            part = prefix.rstrip(".")
            for field in dataclasses.fields(kind):
                if field.name in ("environment", "agent", "tuning", "hyperparameters", "env"):
                    continue
                if f"--{field.name}" in line:
                    continue  # no default is taken

                def get(settings, part=part, name=field.name):
                    return getattr(getattr(settings, part) if part else settings, name)

                value, said = get(settings), help_defaults.shown(get)
                text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
                assert said.partition(", ")[0] == ("none" if value in ((), {}) else text)
        starts = help_defaults.shown_of_each(lambda name, h: f"{name}={h.start:g}").split()
        for name, one in settings.hyperparameters.items():
            assert [x.rstrip(";") for x in starts].count(f"{name}={one.start:g}") == 1
    assert help_defaults.shown(lambda s: s.steps) == "500000"  # it is over


def test_help_says_where_a_default_is_from(capsys):
    said = shown(capsys, "--env", "LunarLander", "--preset", "actor_critic")
    assert default_of(said, "steps") == "1000000, for LunarLander"
    assert default_of(said, "rollout-length") == "16, by --preset actor_critic"
    assert default_of(said, "seed") == "0" and default_of(said, "hidden") == "64 64"
    assert default_of(said, "start").endswith("by --preset actor_critic: learning_rate=0.003")
    assert default_of(said, "tune") == "gamma; by --preset actor_critic: lambda entropy critic"
    assert default_of(shown(capsys), "steps") == "100000, for CartPole-v1"


def test_help_of_a_file_and_of_a_study(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yaml").write_text(files.dump(RunSettings(steps=77_000)))
    assert default_of(shown(capsys, "--config", "my.yaml"), "steps") == "77000, in my.yaml"
    said = shown(capsys, "study", "--env", "TwoColors")
    assert default_of(said, "num-envs") == "1, for TwoColors"
    said = shown(capsys, "study", "--env", "Acrobot", "--steps", "1e7")
    assert default_of(said, "num-envs") == "64, for 1e7 steps"
    assert default_of(said, "steps") == "500000, for Acrobot"
    said = shown(capsys, "--steps", "many")  # which is no number; the run will say so
    assert default_of(said, "num-envs") == "8"
    by = "by --preset cartpole-quick"
    assert default_of(shown(capsys, "study", "--preset", "cartpole-quick"), "steps").endswith(by)


@pytest.mark.parametrize("line", ["--preset nothing", "--config missing.yaml", "--env", "study"])
def test_help_is_shown_whatever_is_wrong_with_the_rest(line, capsys):
    assert "--steps" in shown(capsys, *line.split())
