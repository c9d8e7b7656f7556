"""The flags that say which processes make up one run."""

import itertools

import pytest

from selftuning.configs import cli
from selftuning.configs.cluster import Cluster, cluster
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings
from selftuning.configs.validate import validate


def test_a_cluster_is_what_the_flags_or_the_scheduler_say():
    assert cluster(False, None, None, None) is None
    assert cluster(True, None, None, None) == Cluster()
    assert cluster(True, None, None, None, 9.0).timeout == 9
    assert cluster(True, "node7:4000", 3, 2) == Cluster("node7:4000", 3, 2)
    named = {"--coordinator": "[::1]:80", "--processes": "2", "--process": "0"}
    command = cli.parse(["--distributed", *itertools.chain(*named.items())])
    assert isinstance(command, cli.Train)
    assert command.cluster == Cluster("[::1]:80", 2, 0, 300.0)
    assert cli.parse([]).cluster is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((False, "a:1", None, None), "coordinator: used with --distributed only"),
        ((False, None, None, None, 9.0), "join_timeout: used with --distributed only"),
        ((False, None, None, 0), "process: used with --distributed only"),
        ((True, "a:1", 2, None), "coordinator: is not enough by itself; add --process"),
        ((True, None, 2, None), "processes: is not enough .*; add --coordinator, --process"),
        ((True, "a", 2, 0), "coordinator: a is not allowed; it must be HOST:PORT"),
        ((True, "a:x", 2, 0), "coordinator: a:x is not allowed"),
        ((True, "a:70000", 2, 0), "coordinator: a:70000 is not allowed"),
        ((True, ":1", 2, 0), "coordinator: :1 is not allowed"),
        ((True, "a:1", 0, 0), "processes: 0 is not allowed; it must be at least 1"),
        ((True, "a:1", 2, 2), "process: 2 is not allowed; .* between 0 and 1"),
        ((True, "a:1", 2, -1), "process: -1 is not allowed"),
        ((True, "a:1", 2, 0, 0.0), "join_timeout: 0.0 is not allowed"),
        ((True, None, None, None, float("nan")), "join_timeout: nan is not allowed"),
    ],
)
def test_what_does_not_name_a_cluster_is_an_error(flags, message):
    with pytest.raises(ConfigError, match=message):
        cluster(*flags)


def test_devices_divide_the_environments():
    validate(RunSettings(num_envs=6, devices=3))
    with pytest.raises(ConfigError, match=r"num_envs: 4 is not allowed; .* a multiple of 3"):
        validate(RunSettings(num_envs=4, devices=3))
    with pytest.raises(ConfigError, match="devices: 0 is not allowed"):
        validate(RunSettings(devices=0))
