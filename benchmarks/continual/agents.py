"""Agents whose lives are measured, and what others have published."""

from __future__ import annotations

from typing import Any

# Fixed settings that the best is chosen from. "untuned" has a weight of 0.01 and a rate of 0.001.
WEIGHTS = (0.003, 0.01, 0.03, 0.1, 0.3)
RATES = (3e-4, 1e-3, 3e-3)
# The same for changes that come often. No barrier is "entropy", whose weight is then that.
OFTEN_WEIGHTS = (("barrier", (0.01, 0.03, 0.1)), ("entropy", (0.03, 0.05, 0.1)))
OFTEN_RATES = (1e-3, 2e-3, 3e-3, 5e-3)

_UNTUNED: dict[str, Any] = {"meta": "none"}
_KEEPS_ALL: dict[str, Any] = {"normalization_reset": float("inf")}
_BARRIER: dict[str, Any] = {"regularize": "barrier"}
# A learning rate is cut where an update leaves its trust region, and has to come back.
_RATE: dict[str, Any] = {
    "meta": "mg",
    "tune": ["learning_rate"],
    "fix": ["gamma"],
    "trust_region_repay": 0.01,
}
_HARDLY: dict[str, Any] = {"meta_optimizer": "adam", "meta_learning_rate": 1e-8}


def _fixed(weight: float, rate: float) -> dict[str, Any]:
    return {**_UNTUNED, "start": {"entropy": weight, "learning_rate": rate}}


GRID = {
    f"untuned, entropy {weight:g}, rate {rate:g}": _fixed(weight, rate)
    for weight in WEIGHTS
    for rate in RATES
    if (weight, rate) != (0.01, 1e-3)
}

# What changes often is met by the actor-critic, which learns a level in some thousands of steps.
_OFTEN: dict[str, Any] = {"preset": "actor_critic"}
OFTEN_GRID = {
    f"untuned actor_critic, {name} {weight:g}, rate {rate:g}": {
        **_OFTEN,
        **_UNTUNED,
        **(_BARRIER if name == "barrier" else {}),
        "start": {name: weight, "learning_rate": rate},
    }
    for name, weights in OFTEN_WEIGHTS
    for weight in weights
    for rate in OFTEN_RATES
}
_OFTEN_TUNED: dict[str, Any] = {
    **_OFTEN,
    **_RATE,
    **_BARRIER,
    "fix": ["gamma", "lambda", "critic", "entropy"],
    "start": {"barrier": 0.03},
}
# Changes to the agent that a user gets who says nothing. No learning rate falls, but in "anneal": a
# life has no end that the agent knows of. The outer objective has an entropy weight of 0.01 in all.
AGENTS: dict[str, dict[str, Any]] = {
    "default": {},
    "default, entropy 0.03": {"start": {"entropy": 0.03}},
    "default, entropy 0.1": {"start": {"entropy": 0.1}},
    "all three tuned": {"tune": ["lambda", "entropy"]},
    "all four tuned": {"tune": ["lambda", "entropy", "learning_rate"]},
    "default, barrier": _BARRIER,
    "default, barrier tuned": {**_BARRIER, "tune": ["barrier"]},
    "rate tuned": _RATE,
    "rate tuned, barrier": {"preset": "continual"},
    # The same trust region, and meta-gradients that move nothing: what does the region alone?
    "rate kept, barrier": {**_RATE, **_BARRIER, **_HARDLY},
    "untuned": _UNTUNED,
    "untuned, barrier": {**_UNTUNED, **_BARRIER},
    **GRID,
    "anneal": {**_UNTUNED, "anneal_learning_rate": True, "anneal_entropy": True},
    "untuned, keeps all": {**_UNTUNED, **_KEEPS_ALL},
    "untuned, entropy 0.03, keeps all": {**_UNTUNED, **_KEEPS_ALL, "start": {"entropy": 0.03}},
    "default, entropy 0.03, keeps all": {**_KEEPS_ALL, "start": {"entropy": 0.03}},
    "untuned, memory 5000, keeps all": {
        **_UNTUNED,
        **_KEEPS_ALL,
        "normalization_memory": 5000.0,
    },
    "untuned, raw observations": {**_UNTUNED, "normalize_observations": False},
    "untuned, trac": {**_UNTUNED, "inner_optimizer": "trac"},
    "untuned actor_critic": {**_UNTUNED, "preset": "actor_critic"},
    "actor_critic": {"preset": "actor_critic"},
    "actor_critic, rate tuned": _OFTEN_TUNED,
    "actor_critic, rate by a network": {
        **_OFTEN_TUNED,
        "context": "rich",
    },
    **OFTEN_GRID,
}

# Those that the best fixed setting is chosen from.
FIXED = ("untuned", *GRID, *OFTEN_GRID)

# Means over six seeds and their standard errors, task after task: C-CHAIN (Tang et al. 2025),
# Table 1. Theirs is LunarLander-v2. "Oracle" is an agent with new networks at each level.
PUBLISHED: dict[str, tuple[tuple[float, float], ...]] = {
    "oracle": ((-125.7, 8.3), (299.9, 6.0), (1.1, 2.0), (-322.6, 9.4)),
    "PPO": ((-372.7, 3.3), (61.8, 6.9), (-499.4, 19.6), (-346.6, 4.6)),
    "TRAC": ((-166.6, 8.9), (217.4, 26.3), (-58.1, 17.5), (-400.0, 0.01)),
    "weight clipping": ((-118.8, 13.4), (154.3, 16.0), (-58.6, 2.9), (-267.9, 6.9)),
    "L2 Init": ((-134.0, 14.3), (266.1, 5.3), (-6.7, 5.9), (-369.4, 27.9)),
    "C-CHAIN": ((-119.2, 6.9), (160.4, 14.6), (-16.7, 8.4), (-245.7, 14.7)),
}
