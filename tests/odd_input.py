"""Command lines and files of settings as nobody should write them, for the fuzzer."""

import shlex
import types
from functools import cache
from pathlib import Path
from typing import Literal, Union, get_args, get_origin

from hypothesis import strategies as st

from selftuning.configs import cli, files, presets, studies

# What lies in the working directory of a case: see `lay_out`.
RUN, CONFIG, STUDY, CASE = "run", "changed.yaml", "study.yaml", "case.yaml"

_TEXTS = shlex.split(
    "none None null nan inf -inf 0 -1 1 2 3 8 5.5 1e3 1e400 1e-400 1e300 0x10 [1,2] {} '{a: 1}' 017"
    " true false 1:30 \uff11 é 😀 -- - -x / . .. no/such run run/config.yaml study.yaml a=b"
    " gamma gamma=0.9 gamma= =1 gamma=0.1:0.9 gamma=1,2 gamma=nan lambda=0.5 learning_rate=1e-2"
    " epsilon epsilon=0.5 momentum=0.5 entropy=0:1 foo=1 learning_rate a=017 a=*x 'a=&x [*x]'"
    " a=[1,{b:c}] CartPole TwoColors none,bmg none,none pbt optuna,outer random_search q_lambda"
    " actor_critic stacx cartpole-quick localhost:80 :80 a:99999 quadratic momentum,adagrad"
    " nesterov_worst_case 9999999999999999999"
)
_LONG = ["x" * 300, "1" * 5000, "a/" * 3000]
_ODD = st.one_of(
    st.sampled_from(["", " ", "\n", "\t", "\udcff", *_LONG, *_TEXTS]),
    st.integers(-5, 70_000).map(str),
    st.floats().map(str),
    st.text(max_size=12),
)
_USUAL = {
    int: st.integers(0, 20).map(str),
    float: st.floats(0, 2).map(str),
    bool: st.sampled_from(["true", "false"]),
    Path: st.sampled_from([RUN, CONFIG, STUDY, CASE, "new"]),
}
_WORDS = (
    (),
    ("eval",),
    ("study",),
    ("study", "report"),
    ("study", "compare"),
    ("convex",),
    ("bench",),
)


@cache
def _flags(words):
    """Flags of a command, and the types of their values."""
    app = cli.app
    for word in words:
        app = app[word]
    return {
        name: argument.hint
        for argument in app.assemble_argument_collection()
        for name in argument.names
        if name.startswith("--") and argument.parse
    }


def _usual(hint):
    """Values that a flag of that type may have."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(each for each in get_args(hint) if each is not type(None))
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    return _USUAL.get(hint, _ODD)


@st.composite
def command_lines(draw):
    """Arguments of run.py: flags of a command, most of them with values of their type."""
    words = draw(st.sampled_from(_WORDS))
    flags, line = _flags(words), list(words)
    if words in (("eval",), ("study", "report"), ("study", "compare")):
        line += draw(st.lists(st.one_of(st.just(RUN), _ODD), max_size=2))
    for name in draw(st.lists(st.sampled_from(sorted(flags or ["--out"])), max_size=4)):
        hint = flags.get(name)
        values = st.one_of(_usual(hint), _usual(hint), _ODD)
        least = 0 if hint is bool else draw(st.sampled_from([0, 1, 1, 1, 1, 1, 2]))
        most = least + draw(st.sampled_from([0, 0, 0, 0, 0, 1]))
        typed = draw(st.lists(values, min_size=least, max_size=most))
        if draw(st.integers(0, 19)) == 0:
            name = draw(st.sampled_from([name[:-1], name.replace("-", "_"), "--no" + name[1:]]))
        if typed and draw(st.integers(0, 3)) == 0:
            line.append(f"{name}={typed.pop(0)}")
        else:
            line.append(name)
        line += typed
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(_ODD))
    return [text.replace("\0", "") for text in line if text not in ("--help", "-h")]


_WHOLE = files.plain(presets.for_env("CartPole-v1"))
_OF_STUDY = files.plain(studies.layered([{"methods": "none,mg,bmg,pbt,optuna,outer"}]))
_FRAGMENTS = st.one_of(
    _ODD,
    st.sampled_from(
        "017 0o17 1:30 1e-3 .inf .nan ~ yes no on !!int!x !!set!{x} !!binary!aGk= &a!1 *a &a![*a]"
        " [1,!2] [[1]] {} {1:!2} {a:!1,!a:!2} {x:!{y:!z}} [none,!bmg] {none:!,!mine:!{of:!bmg}}"
        " {mine:!{of:!bmg,!changes:!{env:!Acrobot}}} {mine:!{kind:!pbt,!changes:!{steps:!3}}}"
        " {gamma:![0.5,!0.9]} '017' \"x\" 2001-99-99 0xFF 1_000 -0 +1 --- ... |!a >!a ? : - # % @ `"
        f" {'[' * 60} {'9' * 4400} format:!99 <<:!{{a:!1}}".replace("'017'", "'017'").split()
    ).map(lambda text: text.replace("!!", "\1").replace("!", " ").replace("\1", "!!")),
)


@st.composite
def yaml_texts(draw):
    """Settings of a run or a study with some values replaced, or any text at all."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.one_of(st.text(max_size=80), _FRAGMENTS))
    if kind == 1:
        return draw(st.sampled_from("[{-")) * draw(st.integers(1, 3000))
    base = draw(st.sampled_from([_WHOLE, _OF_STUDY]))
    changes = [draw(_change(base)) for _ in range(draw(st.integers(0, 3)))]
    text = _flow(base if draw(st.booleans()) else {}, changes)
    return text + draw(st.sampled_from(["", "", "", "\nsteps: 3", "\n---\n", "\0"]))


@st.composite
def _change(draw, base):
    """A path into plain data, and a fragment of YAML to be put there."""
    path = []
    while isinstance(base, dict) and base:
        path.append(draw(st.sampled_from(sorted(base))))
        base = base[path[-1]]
        if draw(st.integers(0, 4)) == 0:
            break
    if draw(st.integers(0, 9)) == 0:
        path[-1] = draw(_ODD)
    return tuple(path), draw(_FRAGMENTS)


def _flow(base, changes):
    """Plain data as YAML, with fragments in some places."""
    here = {path[0]: text for path, text in changes if len(path) == 1}
    parts = []
    for key in dict.fromkeys([*base, *(path[0] for path, _ in changes)]):
        value = base.get(key)
        below = [(path[1:], text) for path, text in changes if path[0] == key and len(path) > 1]
        if key in here:
            parts.append(f"{key}: {here[key]}")
        elif isinstance(value, dict) or below:
            parts.append(f"{key}: {_flow(value if isinstance(value, dict) else {}, below)}")
        else:
            parts.append(f"{key}: {_scalar(value)}")
    return "{" + ", ".join(parts) + "}"


def _scalar(value):
    if isinstance(value, list):
        return "[" + ", ".join(map(_scalar, value)) + "]"
    return {None: "null", True: "true", False: "false"}.get(
        value, f"{value}".replace("inf", ".inf")
    )


def lay_out(directory):
    """The files that cases name: a run's settings, and those of a study."""
    (directory / RUN).mkdir()
    settings = presets.for_env("CartPole-v1")
    (directory / RUN / files.NAME).write_text(files.dump(settings))
    (directory / CONFIG).write_text("tuning: {method: mg}\nagent: {hidden: [8]}\n")
    (directory / STUDY).write_text(files.dump(studies.layered([{"methods": "none,pbt"}])))
