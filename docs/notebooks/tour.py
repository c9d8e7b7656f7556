# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A tour in Python
#
# This notebook trains an agent, looks at what it did, lets it act, saves it, and trains eight
# agents side by side. It runs in about two minutes on two CPU cores. Continuous integration
# executes it.

# %%
import tempfile
from pathlib import Path

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np

import selftuning as st

# %% [markdown]
# ## Train
#
# The start is bad: with a discount of 0.7 an agent hardly sees past the next three steps. Meta-
# gradients raise it while the agent learns. Keyword arguments have the names of the command
# line's flags.

# %%
run = st.train("CartPole-v1", steps=100_000, start={"gamma": 0.7}, seed=0, progress=False)
print(f"return {run.returns[-1]:.0f}, gamma {run.hyperparameters['gamma'][-1]:.3f}")

# %% [markdown]
# ## Look
#
# A run holds NumPy arrays. `run.returns` is the mean return of the last 100 episodes.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(run.env_steps, run.returns)
left.set(xlabel="environment steps", ylabel="return")
right.plot(run.env_steps, run.hyperparameters["gamma"])
right.set(xlabel="environment steps", ylabel="gamma")
plt.show()

# %% [markdown]
# ## Act
#
# The agent takes NumPy observations and returns NumPy actions: one, or a batch. `greedy=False`
# draws the action from the policy.

# %%
env = gym.make("CartPole-v1")
observation, _ = env.reset(seed=1)
state, total, done = None, 0.0, False
while not done:
    action, state = run.agent.act(observation, state)
    observation, reward, terminated, truncated, _ = env.step(action)
    total, done = total + float(reward), terminated or truncated
print("return of one episode:", total)

# %%
actions, _ = run.agent.act(np.zeros((3, 4), np.float32), greedy=False)
print("actions for a batch of three:", actions)

# %% [markdown]
# `evaluate` plays greedy episodes and gives a 95% interval.

# %%
low, high = run.evaluate(episodes=50).interval
print(f"mean return in [{low:.0f}, {high:.0f}]")

# %% [markdown]
# ## Save and load
#
# Nothing was written so far. `out=` asks for a run directory. `st.load` reads the agent back,
# without the state of its training.

# %%
directory = Path(tempfile.mkdtemp()) / "cartpole"
st.train("CartPole-v1", steps=20_000, out=directory, progress=False)
agent = st.load(directory)
print(sorted(path.name for path in directory.iterdir() if "tfevents" not in path.name))
print("gamma at the end:", round(float(agent.hyperparameters["gamma"]), 3))

# %% [markdown]
# ## Stop early, and see your mistakes
#
# A callback is called after each chunk of the run. Return True to end the run.

# %%
stopped = st.train(
    "CartPole-v1", steps=100_000, progress=False, callback=lambda now: now.env_steps > 20_000
)
print("stopped after", stopped.env_steps[-1], "steps")

# %%
try:
    st.train("CartPole-v1", start={"gama": 0.7})
except st.ConfigError as error:
    print(error)

# %% [markdown]
# ## Many agents, one program
#
# Seeds and starts are traced values, so eight agents are one vmapped program.

# %%
runs = st.train_many(
    "CartPole-v1", steps=60_000, seeds=range(4), starts={"gamma": [0.7, 0.99]}, progress=False
)
figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
for gamma, colour in ((0.7, "C0"), (0.99, "C1")):
    paths = runs.select(gamma=gamma).hyperparameters["gamma"]
    axis.plot(runs.env_steps, paths.T, color=colour, alpha=0.7)
axis.set(xlabel="environment steps", ylabel="gamma")
plt.show()

# %% [markdown]
# Runs that start at 0.7 climb to where the others are, some sooner than others. A study (`python
# run.py study`) compares whole methods in this way, with intervals and a report.

# %% [markdown]
# ## Your own term in the loss
#
# A term is a function. Its weight is a hyperparameter, and the agent tunes it like the others.


# %%
@st.loss_term(start=0.3, low=1e-4, high=1.0)
def steadiness(seen):
    return seen.policy.kl_divergence(seen.next_policy)


steady = st.train("CartPole-v1", steps=50_000, extensions=[steadiness], progress=False)
print("steadiness:", steady.hyperparameters["steadiness"][[0, -1]])
