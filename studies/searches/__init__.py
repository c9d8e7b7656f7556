"""Searches for hyperparameters, which self-tuning is compared with."""
