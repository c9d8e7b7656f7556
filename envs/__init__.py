"""Environments: a Gymnasium id in, one batched task interface out (`envs.registry.make`)."""
