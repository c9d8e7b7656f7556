"""Imports point one way, no module is in a circle, and no file has outgrown one idea."""

import ast
from pathlib import Path

import pytest

from selftuning.training.provenance import ROOT

# What each part may import, besides itself.
MAY = {
    "configs": set(),
    "metagrad": set(),
    "envs": {"configs"},
    "agents": {"configs", "envs", "metagrad"},
    "training": {"agents", "configs", "envs", "metagrad"},
    "studies": {"agents", "configs", "envs", "metagrad", "training"},
    "benchmarks": {"agents", "configs", "envs", "metagrad", "studies", "training"},
}
FILES = sorted(path for part in MAY for path in (ROOT / part).rglob("*.py"))
NAMES = {
    ".".join(("selftuning", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in FILES
}


def imported(path, nested=True):
    """Names of our own modules that a file imports; of `nested` ones those in functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree) if nested else tree.body:
        if isinstance(node, ast.ImportFrom) and node not in for_types:
            whole = node.module or ""
            for name in node.names:
                inner = f"{whole}.{name.name}"
                yield inner if inner in NAMES else whole
        elif isinstance(node, ast.Import) and node not in for_types:
            yield from (name.name for name in node.names)


@pytest.mark.parametrize("part", MAY)
def test_imports_point_one_way(part):
    for name, path in NAMES.items():
        if name.split(".")[1] != part:
            continue
        for other in imported(path):
            top, _, rest = other.partition(".")
            assert top not in MAY, f"{name} imports {other} without its package"
            if top == "selftuning" and rest:
                at = rest.partition(".")[0]
                assert at == part or at in MAY[part] or at == "__version__", f"{name}: {other}"


def test_no_module_is_in_a_circle():
    graph = {
        name: {other for other in imported(path, nested=False) if other in NAMES and other != name}
        for name, path in NAMES.items()
    }
    while leaves := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not graph, f"circles among {sorted(graph)}"


def test_no_file_is_longer_than_400_lines():
    files = [*FILES, *(ROOT / "selftuning").glob("*.py"), *Path(ROOT / "tests").glob("*.py")]
    long = {path.name: n for path in files if (n := len(path.read_text().splitlines())) > 400}
    assert not long
