"""A study on a Ray cluster of two nodes, one of which is lost, and on none at all."""

import threading
import time

import polars as pl
import pytest
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from selftuning.configs.errors import ConfigError
from selftuning.studies import execute, study, study_files
from selftuning.studies.launchers import open_launcher
from tests import logged_work
from tests.small_studies import small

pytestmark = pytest.mark.slow

SIZE = ("--steps", "2000", "--evaluations", "0", "--seeds", "2", "--block", "2")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The table of the study that others are to equal."""
    out = tmp_path_factory.mktemp("local") / "study"
    assert study.run(small(*SIZE, out=out), Console(quiet=True)) == 0
    return pl.read_parquet(out / study_files.RESULTS)


def test_a_lost_node_changes_nothing(local, tmp_path, monkeypatch):
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    monkeypatch.setattr(execute, "run_job", logged_work.run_job)
    out = tmp_path / "study"

    def begun():
        log = out / "begun.log"
        return [line.split() for line in log.read_text().splitlines()] if log.exists() else []

    def remove_a_node():
        """In the middle of a unit that it runs."""
        while node.node_id not in [where for _, where in begun()]:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)
        (out / "go").touch()

    threading.Thread(target=remove_a_node, daemon=True).start()
    command = small(*SIZE, "--launcher", "ray", "--address", cluster.address, out=out)
    try:
        assert study.run(command, Console(quiet=True)) == 0
    finally:
        cluster.shutdown()
    (lost,) = {unit for unit, where in begun() if where == node.node_id}
    assert [unit for unit, _ in begun()].count(lost) == 2
    assert pl.read_parquet(out / study_files.RESULTS).equals(local)


def test_a_cluster_of_its_own(local, tmp_path):
    out = tmp_path / "study"
    command = small(*SIZE, "--launcher", "ray", "--workers", "2", out=out)
    assert study.run(command, Console(quiet=True)) == 0
    assert pl.read_parquet(out / study_files.RESULTS).equals(local)
    assert not ray.is_initialized()


def test_an_address_without_a_cluster():
    where = small("--launcher", "ray", "--address", "127.0.0.1:1").where
    with pytest.raises(ConfigError, match="cannot join the Ray cluster at"):
        open_launcher(where).__enter__()


def test_a_cluster_has_as_many_workers_as_it_has():
    where = small("--launcher", "ray", "--address", "127.0.0.1:1", "--workers", "3").where
    with pytest.raises(ConfigError, match="workers: 3 is not allowed"):
        open_launcher(where).__enter__()
