"""An extension, as a user would write it."""

from selftuning.configs.extensions import hyperparameter, loss_term, reward_term

temperature = hyperparameter("temperature", start=0.4, low=0.1, high=0.9, scale="unit", outer=0.6)


@loss_term(start=0.3, low=1e-5, high=1.0, outer=0.1)
def smoothness(seen):
    return seen.policy.kl_divergence(seen.next_policy)


@reward_term(start=-0.5, low=-2.0, high=1.0, scale="linear", outer=0.2)
def surprise(seen):
    return seen.hyperparams["temperature"] * (seen.next_value - seen.value) ** 2
