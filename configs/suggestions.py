"""What somebody meant who typed the name of a setting that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from selftuning.configs.hyperparameters import BUILT_IN

# What others call our settings: Stable-Baselines3, CleanRL, rejax, Stoix and RLlib.
_ELSEWHERE: Mapping[str, str] = {
    name: ours
    for ours, names in {
        "algorithm": "algo",
        "anneal_learning_rate": "anneal_lr lr_decay",
        "anneal_entropy": "anneal_ent_coef ent_coef_decay anneal_entropy_weight",
        "clip": "clip_range clip_coef clip_eps clip_param",
        "critic": "vf_coef value_coef vf_loss_coeff critic_weight",
        "entropy": "ent_coef entropy_coef entropy_coeff ent_coeff entropy_weight",
        "env": "env_id environment task",
        "env_kwargs": "env_args env_config",
        "epochs": "n_epochs num_epochs update_epochs num_sgd_iter",
        "eval_episodes": "n_eval_episodes num_eval_episodes eval_eps",
        "eval_every": "eval_freq eval_interval",
        "gamma": "discount discount_factor",
        "lambda": "gae_lambda gae_lam lam trace_decay",
        "learning_rate": "lr step_size alpha actor_lr critic_lr",
        "meta_learning_rate": "meta_lr",
        "meta_epsilon": "meta_eps",
        "minibatches": "num_minibatches n_minibatches batch_size minibatch_size mini_batch_size",
        "normalize_advantage": "norm_adv",
        "normalize_observations": "norm_obs normalize_obs",
        "normalize_rewards": "norm_reward normalize_reward",
        "num_envs": "n_envs num_env envs num_environments",
        "out": "output output_dir out_dir log_dir logdir save_dir run_dir",
        "rollout_length": "n_steps num_steps rollout_fragment_length unroll_length",
        "steps": "total_timesteps timesteps num_timesteps total_steps max_steps env_steps",
        "inner_optimizer": "optimizer optim",
        "hidden": "hidden_sizes hidden_layers layers widths net_arch units",
        "activation": "activation_fn",
        "wandb": "track use_wandb",
        "start": "hyperparameter hyperparameters",
    }.items()
    for name in names.split()
}


def meant(typed: str, settings: Iterable[str], start: str = "") -> str:
    """The way to say what was meant; empty if nothing is close to it.

    Args:
      typed: name with underscores.
      settings: names that there are.
      start: how hyperparameters begin elsewhere, with {} for the name; empty where there are none.
    """
    known = {name: name for name in settings}
    if start:
        known = {name: start.format(name) for name in BUILT_IN} | known
    name = typed.lower()
    name = _ELSEWHERE.get(name, name) if name not in known else name
    close = [name] if name in known else difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return known[close[0]] if close else ""
