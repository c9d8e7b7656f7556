"""Documents say what is true: the tutorial runs, and every command that they show is understood."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import jupytext
import pytest
from markdown_it import MarkdownIt
from nbclient import NotebookClient

from selftuning.configs import cli
from selftuning.configs.hyperparameters import BUILT_IN
from selftuning.configs.settings import InnerOptimizer, MetaOptimizer

ROOT = Path(__file__).parent.parent
TUTORIAL = "docs/tutorial.md"
NOTEBOOK = ROOT / "docs/notebooks/tour"
DOCUMENTS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
DOCUMENTS.remove(TUTORIAL)  # which runs as a whole
PLACEHOLDER = re.compile(r"\b(RUN|DIR\d?|FILE|N|ID)\b")


def blocks(document: str) -> list[tuple[str, str, str]]:
    """Language, name and text of the fenced blocks of a document."""
    tokens = MarkdownIt().parse((ROOT / document).read_text(encoding="utf-8"))
    found = []
    for token in tokens:
        if token.type == "fence":
            title = re.search(r'title="(.*)"', token.info)
            found.append((token.info.split(" ")[0], title[1] if title else "", token.content))
    return found


def commands(document: str) -> list[str]:
    """What documents call run.py with, in blocks and in lines."""
    text = (ROOT / document).read_text(encoding="utf-8")
    shell = "".join(content for language, _, content in blocks(document) if language == "sh")
    lines = shell.replace("\\\n", " ").splitlines() + re.findall(r"`(python run\.py[^`]*)`", text)
    found = (re.search(r"python run\.py(.*)", line) for line in lines)
    return [match[1] for match in found if match]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_are_understood(document, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in commands(document):
        if PLACEHOLDER.search(command):
            continue
        try:
            cli.parse(shlex.split(command, comments=True))
        except Exception as error:
            pytest.fail(f"{document}: run.py{command}: {error}")


def test_the_tutorial_sets_up_as_the_readme_does():
    (install, *_) = (text for language, _, text in blocks(TUTORIAL) if language == "sh")
    assert install in [text for _, _, text in blocks("README.md")]


def test_the_notebook_is_its_script():
    """`jupytext --sync` after a change of either."""
    script, notebook = (jupytext.read(NOTEBOOK.with_suffix(end)).cells for end in (".py", ".ipynb"))
    assert [(x.cell_type, x.source) for x in script] == [(x.cell_type, x.source) for x in notebook]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    notebook = jupytext.read(NOTEBOOK.with_suffix(".py"))
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=where).execute()
    printed = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    assert "gama" in printed
    assert not list(tmp_path.iterdir())  # nothing is written unless it is asked for


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tuned_digits.py", "own_loop.py", "own_loss.py"])
def test_the_examples_of_layers_run_and_tune(name, tmp_path):
    """Each is complete in itself, and shows what the page says of it."""
    (text,) = (text for _, title, text in blocks("docs/layers.md") if title == name)
    (tmp_path / name).write_text(text, encoding="utf-8")
    after = runpy.run_path(str(tmp_path / name))
    if name == "tuned_digits.py":
        assert after["means"][True] < 0.5 * after["means"][False]
    elif name == "own_loop.py":
        assert (after["gamma"][:, -1] > 0.98).all()
    else:
        assert after["means"][False] < 0.4 < 0.7 < after["means"][True]


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    """Every block but the first, which sets up: files are saved, and commands run in order."""
    (tmp_path / "run.py").symlink_to(ROOT / "run.py")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = 0
    for language, name, text in blocks(TUTORIAL)[1:]:
        if name:
            (tmp_path / name).write_text(text, encoding="utf-8")
            continue
        assert language == "sh"
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"
        done += 1
    assert done >= 6
    for made in ("docking-study/report.html", "docking-compared/report.html"):
        assert (tmp_path / made).stat().st_size > 1e6
    assert "steadiness" in (tmp_path / "steady-run" / "summary.json").read_text()


def test_runs_names_every_optimiser_and_hyperparameter():
    page = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    for name in (*get_args(InnerOptimizer), *get_args(MetaOptimizer), *BUILT_IN):
        assert f"`{name}`" in page, name
