"""Thousands of command lines and files: each is a command, or gets one line that says why not."""

import contextlib
import io
import re
import subprocess
import sys
import time
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from selftuning.configs import cli, study_cli
from selftuning.configs.errors import ConfigError, one_line
from tests import odd_input

SECONDS = 10.0  # a case takes milliseconds; a machine may be busy, and a loop has no end
# "FIELD: VALUE is not allowed; it must be ...", or what else there is to say of it.
SAID = re.compile(
    r"is not allowed; it must be \S|did you mean \S|see --help|; it must be \S|said twice|twice"
    r"|not of the form|no hyperparameter is called|is no part of|is outside its bounds|LOW must be"
    r"|cannot be tuned from|is not a number|are numbers|is not YAML|cannot read|too large|holds no"
    r"|unexpected argument .*; |with --distributed only|is not enough by itself|not of type"
    r"|unknown (field|hyperparameter)|newer than|is not a (format|version)|imported|no module"
    r"|adds nothing|missing or unknown|is not a list|invalid"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz")
    odd_input.lay_out(path)
    return path


def one(arguments, directory, call=cli.parse):
    """Parses arguments in a directory, and checks the answer."""
    before, began = sorted(directory.rglob("*")), time.process_time()
    printed = io.StringIO()
    with contextlib.chdir(directory), contextlib.redirect_stdout(printed):
        try:
            command = call(arguments)
        except ConfigError as error:
            said = str(error)
            assert said and said.isprintable() and len(said) <= 1505, (arguments, said)
            assert SAID.search(said), (arguments, said)
            assert names_what_was_typed(said, arguments), (arguments, said)
        else:
            assert type(command) in cli.Command.__args__, arguments
    assert time.process_time() - began < SECONDS, arguments
    assert sorted(directory.rglob("*")) == before, arguments
    assert not printed.getvalue(), arguments


def names_what_was_typed(said, arguments):
    """Whether a message has a flag or value of the command line in it, or a part of one."""
    if not arguments:
        return False
    typed = [part for text in arguments for part in text.partition("=")[::2] if part]
    plain = said.replace("-", "_")
    typed = [text.replace("-", "_").removeprefix("__no_") for text in typed]
    shown = [word[:20] for text in typed for word in re.findall(r"[^\W_]+", text)]
    for text in typed:  # or how a message writes what cannot be printed
        shown += [form[:20] for form in (text, ascii(text)[1:-1], repr(text)[1:-1])]
        shown.append(one_line(text)[:20])
    return "''" in said or any(text and text in plain for text in shown)


def fuzzed(cases, seed):
    """A test over so many cases, the same ones in each session."""

    def decorate(test):
        settings = hypothesis.settings(
            max_examples=cases,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        return hypothesis.seed(seed)(settings(test))

    return decorate


LINES, TEXTS = odd_input.command_lines(), odd_input.yaml_texts()
FAULT = pytest.mark.fault("a command line or file of settings is not as it should be", "one line")


def check_text(text, study, directory, call=cli.parse):
    case = directory / odd_input.CASE
    case.write_bytes(text.encode("utf-8", "surrogatepass"))
    words = ["study"] if study else []
    one([*words, "--config", case.name], directory, call)


def read_alone(arguments):
    """What `cli.parse` does once it knows its flags, which takes it longer than the rest."""
    *words, _, name = arguments
    return (study_cli._study if words else cli._train)(config=Path(name))


@FAULT
@fuzzed(700, seed=1)
@hypothesis.given(arguments=LINES)
def test_a_command_line_is_a_command_or_gets_one_line(directory, arguments):
    one(arguments, directory)


@FAULT
@fuzzed(1300, seed=2)
@hypothesis.given(text=TEXTS, study=st.booleans())
def test_a_file_of_settings_is_a_command_or_gets_one_line(directory, text, study):
    check_text(text, study, directory, read_alone)


@FAULT
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 14))
def test_20_000_more_cases(directory, seed):
    @fuzzed(3000, seed)
    @hypothesis.given(arguments=LINES)
    def lines(arguments):
        one(arguments, directory)

    @fuzzed(2000, seed)
    @hypothesis.given(text=TEXTS, study=st.booleans())
    def texts(text, study):
        check_text(text, study, directory)

    lines()
    texts()


def test_a_hundred_command_lines_load_neither_jax_nor_gymnasium(directory):
    code = (
        "import sys; import tests.test_input_fuzz as fuzz; from pathlib import Path\n"
        "run = fuzz.fuzzed(100, 3)(fuzz.hypothesis.given(arguments=fuzz.LINES)("
        "lambda arguments: fuzz.one(arguments, Path(sys.argv[1])))); run()\n"
        "assert not {'jax', 'gymnasium', 'matplotlib', 'numpy'} & set(sys.modules)"
    )
    command = [sys.executable, "-c", code, str(directory)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
