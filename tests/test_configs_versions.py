"""Files say which version wrote them, and errors in those of a newer one say so."""

import pytest

from selftuning import __version__
from selftuning.configs import files, studies, versions
from selftuning.configs.errors import ConfigError
from selftuning.configs.settings import RunSettings

REMARK = f"; the file was written by selftuning 9.1.0, this is {__version__}"


@pytest.fixture
def written(tmp_path):
    """Returns a function that writes settings with changes, and returns their path."""

    def write(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def newer(text):
    return text.replace(f"selftuning: {__version__}", "selftuning: 9.1.0")


def error_of(path):
    with pytest.raises(ConfigError) as caught:
        files.load(path)
    return str(caught.value).removeprefix(f"{path}: ")


def test_files_carry_format_and_version(written):
    lines = files.dump(RunSettings()).splitlines()
    assert lines[0].startswith(f"# Written with selftuning {__version__}, jax ")
    assert lines[1:3] == [f"format: {versions.FORMAT}", f"selftuning: {__version__}"]
    assert files.load(written(files.dump(RunSettings()))) == RunSettings()
    study = studies.StudySettings(seeds=3)
    assert studies.layered([files.read(written(files.dump(study)))]) == study


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("agent:", "agent:\n  foo: 1", "unknown field agent.foo"),
        ("seed: 0", "seed: 0\nfoo: 1", "unknown field foo"),
        (
            "  gamma:",
            "  foo: {start: 1, low: 0, high: 2, tuned: true, outer: 1}\n  gamma:",
            "unknown hyperparameter foo",
        ),
        ("inner_optimizer: adam", "inner_optimizer: foo", "agent.inner_optimizer: 'foo'"),
    ],
)
def test_what_is_unknown_is_an_error_that_names_a_newer_version(old, new, problem, written):
    text = files.dump(RunSettings()).replace(old, new, 1)
    said = error_of(written(text))
    assert said.startswith(problem) and "written by" not in said
    assert error_of(written(newer(text))) == said + REMARK


def test_a_file_of_a_newer_version_that_is_understood_is_read(written):
    assert files.load(written(newer(files.dump(RunSettings())))) == RunSettings()


def test_a_newer_format_is_refused(written):
    said = error_of(written("format: 99\nselftuning: 9.1.0\nseed: 1"))
    newest = f"format 99 is newer than {versions.FORMAT}, the newest that this version reads"
    assert said == newest + REMARK


@pytest.mark.parametrize("stamp", ["format: x", "format: true", "format: 0", "selftuning: old"])
def test_a_stamp_that_is_none_is_an_error(stamp, written):
    assert stamp.partition(":")[0] in error_of(written(stamp))


def test_a_file_without_a_stamp_is_read_and_what_it_lacks_is_the_default(written):
    text = "hyperparameters: {lambda: {start: 0.5, tuned: false}}\nagent: {heads: 2}"
    settings, default = files.load(written(text)), RunSettings()
    lambda_ = settings.hyperparameters["lambda"]
    assert (lambda_.start, lambda_.tuned) == (0.5, False)
    assert lambda_.high == default.hyperparameters["lambda"].high
    assert settings.hyperparameters | {"lambda": lambda_} == settings.hyperparameters
    assert settings.hyperparameters.keys() == default.hyperparameters.keys()
    assert settings.agent.hidden == default.agent.hidden


def test_a_study_of_a_newer_version_says_so(written):
    text = newer(files.dump(studies.StudySettings())).replace("seeds:", "sedes: 1\nseeds:")
    with pytest.raises(ConfigError) as caught:
        studies.layered([files.read(written(text)), {"seeds": 2}])
    assert str(caught.value) == f"study: unknown field sedes; did you mean seeds?{REMARK}"
