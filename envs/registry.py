"""From the name of an environment to a task."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import math
import os
import re
from collections.abc import Callable
from typing import NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, parse_env_id
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs import modules
from selftuning.configs.errors import ConfigError, not_allowed, require
from selftuning.configs.settings import EnvSettings
from selftuning.envs import answers, batched_libraries, foreign, given, single
from selftuning.envs.acrobot import Acrobot
from selftuning.envs.cartpole import CartPole
from selftuning.envs.functional import check_positive, graph_task
from selftuning.envs.graph_options import with_options
from selftuning.envs.hosted import functional_env
from selftuning.envs.mountain_car import MountainCar
from selftuning.envs.spaces import AgentView
from selftuning.envs.task import Task
from selftuning.envs.vector import host_task
from selftuning.envs.workers import in_workers

BACKENDS = ("auto", "jax", "host")
_PLAIN = EnvSettings()


# Ids that another package registers, and the extra that installs it.
_FAMILIES = (
    (r"ALE(/|$)|\w+NoFrameskip", "ale_py", "atari"),
    (r"MiniGrid-|BabyAI-", "minigrid", "minigrid"),
)


class Twin(NamedTuple):
    """A functional environment that a test shows equal to a registered one."""

    entry_point: str  # what the id has to be registered with for the twin to stand for it
    make: Callable[[], FuncEnv]


TWINS: dict[str, Twin] = {
    "Acrobot-v1": Twin("gymnasium.envs.classic_control.acrobot:AcrobotEnv", Acrobot),
    "CartPole-v1": Twin("gymnasium.envs.classic_control.cartpole:CartPoleEnv", CartPole),
    "MountainCar-v0": Twin(
        "gymnasium.envs.classic_control.mountain_car:MountainCarEnv", MountainCar
    ),
}


def resolve(name: str) -> str:
    """The registered id that `name` means; its version may be left out.

    `module:Env-v0` imports the module, which registers the environment, and keeps the
    prefix, so that the answer resolves again in another process. So do environments of the
    libraries of `envs.foreign` and `envs.batched_libraries`, as `gymnax:Breakout-MinAtar` and
    `envpool:CartPole-v1`.

    Raises:
      ConfigError: no such id (with the closest ones), or a module that cannot be imported.
    """
    if foreign.is_foreign(name):
        foreign.register(name)
        return name
    if batched_libraries.is_batched(name):
        return batched_libraries.resolve(name)
    module, _, bare_name = name.rpartition(":")
    if module:
        modules.imported(module, "env")
    env_id = _find(bare_name) or (_find(bare_name) if _register(bare_name) else None)
    if env_id is None and name.startswith(f"{given.NAMESPACE}/"):
        said = "was given in Python, and is not made from its name; st.load gives its agent"
        raise ConfigError(f"env: {name!r} {said}")
    if env_id is None:
        raise ConfigError(f"env: {name!r} is not a registered Gymnasium id; {_hint(bare_name)}")
    return f"{module}:{env_id}" if module else env_id


def make(
    env_id: str,
    num_envs: int,
    backend: str = "auto",
    options: EnvSettings = _PLAIN,
    *,
    processes: int = 1,
    workers: int = 0,
) -> Task:
    """B environments of one id, as the task that agents act in.

    Args:
      env_id: a Gymnasium id or anything that `resolve` takes.
      num_envs: B.
      backend: "jax" steps the environment inside jit, which needs an equal twin in
        `TWINS` or an id of `envs` itself; "host" steps it from Python; "auto" takes "jax" where
        it can.
      options: arguments, wrappers and the like. A twin has no arguments, and nothing in-graph has
        wrappers: such environments are stepped on the host.
      processes: that divide the environments of the host among them; B / processes of them are
        this one's. Environments in-graph are divided by devices, and the task has them all.
      workers: more processes that step this one's environments of the host; 0 for none.

    Raises:
      ConfigError: a bad argument, an unknown id, an environment whose packages are not
        installed or whose spaces are not supported.
    """
    check_positive("num_envs", num_envs)
    require(backend in BACKENDS, "backend", repr(backend), " | ".join(BACKENDS))
    if batched_libraries.is_batched(env_id):
        allowed = f"host or auto for {env_id}"
        require(backend != "jax", "backend", backend, allowed)
        allowed = f"0 for {env_id}, which is stepped in threads of its own"
        require(workers == 0, "env_workers", workers, allowed)
        seconds, allowed = options.step_timeout, f"inf for {env_id}, whose threads nobody can end"
        require(math.isinf(seconds), "step_timeout", seconds, allowed)
        return batched_libraries.make(env_id, num_envs // processes, options)
    spec = single.specification(_spec(env_id), options)
    functional = _functional(spec, options)
    if backend == "jax" and functional is None:
        if options.wrappers or (options.env_kwargs and in_graph(env_id)):
            what = "wrapper" if options.wrappers else "env_kwargs"
            raise not_allowed("backend", "jax", f"host or auto with {what}, for {spec.id}")
        known_ids = [known.id for known in gym.registry.values() if _functional(known) is not None]
        raise ConfigError(
            f"backend: 'jax' is not available for {spec.id!r}; allowed: 'host' or 'auto' "
            f"(in-graph environments: {', '.join(known_ids)})"
        )
    if functional is None or backend == "host":
        here = num_envs // processes
        if workers or math.isfinite(options.step_timeout):
            return in_workers(spec, here, options, max(1, workers))
        return host_task(spec, here, options)
    require(workers == 0, "env_workers", workers, "0 inside jit, or used with --backend host")
    allowed = "inf inside jit, or used with --backend host"
    require(math.isinf(options.step_timeout), "step_timeout", options.step_timeout, allowed)
    with answers.created(spec.id, options.env_kwargs):
        env = functional()
    task = graph_task(
        env,
        num_envs,
        env_id=spec.id,
        max_episode_steps=spec.max_episode_steps,
        reward_threshold=spec.reward_threshold,
    )
    return with_options(task, options)


def in_graph(env_id: str, backend: str = "auto", options: EnvSettings = _PLAIN) -> bool:
    """Whether `make` steps an environment inside jit.

    Raises:
      ConfigError: no such id.
    """
    spec = single.specification(_spec(env_id), options)
    return backend != "host" and _functional(spec, options) is not None


def reward_threshold(env_id: str) -> float | None:
    """The return from which an environment counts as solved; None if it does not say.

    Raises:
      ConfigError: no such id.
    """
    return _spec(env_id).reward_threshold


def check_drawn(env_id: str, options: EnvSettings = _PLAIN) -> None:
    """Raises ConfigError for an environment that does not say that it draws images."""
    # pygame greets on standard output when it is imported.
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if batched_libraries.is_batched(env_id):
        raise ConfigError(f"env: {env_id!r} cannot be drawn; its environments are stepped together")
    spec = single.specification(_spec(env_id), options)
    probe = single.make(spec, options).env
    modes = probe.metadata.get("render_modes") or []
    answers.close(probe)
    if "rgb_array" not in modes:
        raise ConfigError(f"env: {spec.id!r} cannot be drawn; its render modes: {modes}")


def make_render_env(env_id: str, options: EnvSettings = _PLAIN) -> gym.Env:
    """One Gymnasium environment whose `render()` gives an image [height, width, 3] uint8.

    Its spaces are those that agents see, as in the tasks.

    Raises:
      ConfigError: as `make`, and for an environment that cannot be drawn.
    """
    check_drawn(env_id, options)
    spec = single.specification(_spec(env_id), options)
    made = single.make(spec, options, render_mode="rgb_array")
    env = AgentView(single.with_masks([made], spec, options)[0].env)
    try:  # packages for drawing are imported at the first image
        env.reset(seed=0)
        env.render()
    except (Exception, SystemExit) as error:
        answers.close(env)
        raise ConfigError(f"env: {spec.id!r} cannot be drawn: {answers.why(error)}") from error
    return env


def _spec(env_id: str) -> EnvSpec:
    # By its specification an environment is made without Gymnasium's advice on versions.
    name = resolve(env_id)
    if batched_libraries.is_batched(name):
        return batched_libraries.specification(name)
    return gym.registry[foreign.register(name) if foreign.is_foreign(name) else bare(name)]


def bare(name: str) -> str:
    """An id without the module that registers it."""
    return name.rpartition(":")[2]


def _functional(spec: EnvSpec, options: EnvSettings = _PLAIN) -> Callable[[], FuncEnv] | None:
    """What makes the functional environment that stands for `spec`, or None.

    A twin stands for its id only while that is registered as what the twin equals; other ids
    may host a functional environment themselves.
    """
    if spec.additional_wrappers or options.wrappers:
        return None
    twin = TWINS.get(spec.id)
    if twin is not None and not spec.kwargs and spec.entry_point == twin.entry_point:
        return twin.make
    return functional_env(spec)


def _find(name: str) -> str | None:
    """The registered id that `name` means, or None."""
    if name in gym.registry:
        return name
    return max(_versions(name), key=_version, default=None)


def _versions(name: str) -> list[str]:
    """All registered ids of the environment called `name` (without a version)."""
    return [env_id for env_id in gym.registry if _version(env_id) >= 0 and _base(env_id) == name]


def _base(env_id: str) -> str:
    spec = gym.registry[env_id]
    return f"{spec.namespace}/{spec.name}" if spec.namespace else spec.name


def _version(env_id: str) -> int:
    version = gym.registry[env_id].version
    return -1 if version is None else version


def _register(name: str) -> bool:
    """Imports the package that registers the ids of a family, if it is there."""
    for pattern, package, _ in _FAMILIES:
        if re.match(pattern, name):
            try:
                gym.register_envs(importlib.import_module(package))
            except ImportError:
                return False
            return True
    return False


def _hint(name: str) -> str:
    """What the user may have meant by an id that is not registered."""
    try:
        namespace, base, _ = parse_env_id(name)
    except gym.error.Error:
        return "allowed: [module:][namespace/]Name[-vN]"
    base = f"{namespace}/{base}" if namespace else base
    for pattern, package, extra in _FAMILIES:
        if re.match(pattern, name) and importlib.util.find_spec(package) is None:
            return f'it is of the package {package}: pip install "selftuning[{extra}]"'
    if versions := _versions(base):
        return f"its versions: {', '.join(sorted(versions, key=_version, reverse=True))}"
    newest = {_base(env_id).lower(): _find(_base(env_id)) for env_id in gym.registry}
    close = difflib.get_close_matches(base.lower(), newest, n=3)
    if not close:
        return "gymnasium.pprint_registry() lists those that are"
    return f"closest: {', '.join(str(newest[key]) for key in close)}"
