"""Settings of runs that take a second or two, as keywords of `selftuning.train`."""

SMALL = {
    "steps": 4000,
    "num_envs": 4,
    "rollout_length": 16,
    "epochs": 2,
    "minibatches": 2,
    "hidden": (8,),
    "meta_optimizer": "adam",  # the default waits for evidence
    "eval_episodes": 2,
    "progress": False,
    "checkpoint_every": 0.0,
}
UNTUNED = {name: x for name, x in SMALL.items() if name != "meta_optimizer"} | {"meta": "none"}
