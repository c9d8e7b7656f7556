"""Random Markov decision processes that take turns, unseen."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs.errors import require
from selftuning.envs import drawing
from selftuning.envs.functional import check_count, check_positive

# Of the Dirichlet distribution of successors: from each state an action leads to two or three
# states most of the time. With evenly spread ones it would hardly matter where one goes.
_CONCENTRATION = 0.2
# Of each step, to go to a state drawn from all: so there is no trap, and the mean reward of a
# policy does not depend on where it begins.
_JUMP = 0.01

_AGENT_COLOR = (60, 60, 60)
_GAIN_COLOR = (44, 160, 44)
_LOSS_COLOR = (214, 39, 40)


class SwitchingMDPState(NamedTuple):
    """Where the agent is, and in which process."""

    at: jax.Array  # [] int32: the state of the process
    mdp: jax.Array  # [] int32: the process that is active
    time: jax.Array  # [] int32: steps since it became active


class SwitchingMDP(FuncEnv):
    """A stream without end in which the rules change every `switch_every` steps.

    After the random tabular tasks of Luketina et al. (2022), "Meta-Gradients in Non-Stationary
    Environments", whose construction is not known in detail: this is our reading of it.
    `num_mdps` processes share states and actions. Successors of each state and action are drawn
    from a sparse Dirichlet distribution, rewards of each uniformly from -1 to 1, all once and
    from `seed`. One process after the other is active and begins again after the last; the
    state stays when they change. Observed is the state alone, as ones and zeros [num_states].

    Args:
      num_states: states of each process.
      num_actions: actions in each state.
      num_mdps: processes that take turns.
      switch_every: steps from one to the next.
      seed: of the processes, not of what happens in them.
      begins: steps that are over when the stream begins: of a run that goes on, or an evaluation.

    Raises:
      ConfigError: a setting is not allowed.
    """

    def __init__(
        self,
        num_states: int = 10,
        num_actions: int = 4,
        num_mdps: int = 4,
        switch_every: int = 20_000,
        seed: int = 0,
        begins: int = 0,
    ):
        super().__init__()
        shape = {"num_states": num_states, "num_actions": num_actions, "num_mdps": num_mdps}
        for field, value in (shape | {"switch_every": switch_every}).items():
            check_positive(field, value)
        require(switch_every < 2**31, "switch_every", switch_every, "below 2**31")
        check_count("begins", begins)
        self.begins, self.switch_every, self.levels = begins, switch_every, num_mdps
        self.num_states = num_states
        self.observation_space = spaces.Box(0.0, 1.0, (num_states,), np.float32)
        self.action_space = spaces.Discrete(num_actions)
        rng = np.random.default_rng(seed)
        table = (num_mdps, num_states, num_actions)
        # [mdp, state, action, successor] and [mdp, state, action]
        successors = rng.dirichlet(np.full(num_states, _CONCENTRATION), table)
        self.probabilities = (1 - _JUMP) * successors + _JUMP / num_states
        self.rewards = rng.uniform(-1.0, 1.0, table)
        # Rows of [mdp * state * action]: one index costs less than three.
        cumulative = self.probabilities.cumsum(axis=-1)[..., :-1]
        self._cumulative = cumulative.reshape(self.rewards.size, -1).astype(np.float32)
        self._rewards = self.rewards.reshape(-1).astype(np.float32)

    def beginning(self, begins: int) -> SwitchingMDP:
        """The same stream, which begins after so many steps."""
        check_count("begins", begins)
        later = copy.copy(self)
        later.begins = begins
        return later

    def initial(self, rng: jax.Array, params: Any = None) -> SwitchingMDPState:
        """A random state of the process that is active when the stream begins."""
        return jax.tree.map(lambda leaf: leaf[0], self.initial_batch(rng, 1))

    def initial_batch(self, rng: jax.Array, num: int) -> SwitchingMDPState:
        """`num` start states, each leaf [num], from one key."""
        level, time = divmod(self.begins, self.switch_every)
        mdp = level % self.levels
        at = jax.random.randint(rng, (num,), 0, self.num_states, jnp.int32)
        return SwitchingMDPState(at, *(jnp.full(num, x, jnp.int32) for x in (mdp, time)))

    def carry_over(self, start: SwitchingMDPState, ended: SwitchingMDPState) -> SwitchingMDPState:
        """The start of the next episode of a stream that a time limit cuts: its time goes on."""
        return start._replace(mdp=ended.mdp, time=ended.time)

    def transition(
        self, state: SwitchingMDPState, action: Any, rng: jax.Array, params: Any = None
    ) -> SwitchingMDPState:
        """State after one step of the active process."""
        cumulative = jnp.asarray(self._cumulative)[self._row(state, action)]
        at = jnp.sum(jax.random.uniform(rng) >= cumulative, dtype=jnp.int32)
        ends = state.time == self.switch_every - 1
        is_last = state.mdp == self.levels - 1
        return SwitchingMDPState(
            at=at,
            mdp=jnp.where(ends, jnp.where(is_last, 0, state.mdp + 1), state.mdp),
            time=jnp.where(ends, 0, state.time + 1),
        )

    def observation(self, state: SwitchingMDPState, rng: Any, params: Any = None) -> jax.Array:
        """The state of the process as a one among zeros: [num_states]."""
        return (state.at == jnp.arange(self.num_states)).astype(jnp.float32)

    def reward(
        self,
        state: SwitchingMDPState,
        action: Any,
        next_state: SwitchingMDPState,
        rng: Any,
        params: Any = None,
    ) -> jax.Array:
        """What the active process pays for this action in this state."""
        return jnp.asarray(self._rewards)[self._row(state, action)]

    def terminal(self, state: SwitchingMDPState, rng: Any, params: Any = None) -> jax.Array:
        """Never."""
        return jnp.asarray(False)

    def _row(self, state: SwitchingMDPState, action: Any) -> jax.Array:
        _, num_states, num_actions = self.rewards.shape
        return (state.mdp * num_states + state.at) * num_actions + action

    def optimal_rewards(self) -> np.ndarray:
        """Mean reward per step [num_mdps] of each process's best policy."""
        return self._mean_rewards(np.max)

    def random_rewards(self) -> np.ndarray:
        """Mean reward per step [num_mdps] of actions drawn uniformly."""
        return self._mean_rewards(np.mean)

    def _mean_rewards(self, choose: Any) -> np.ndarray:
        """By relative value iteration; `choose(values, axis)` makes one value of the actions'."""
        values = np.zeros(self.rewards.shape[:2])
        while True:
            following = np.einsum("msat,mt->msa", self.probabilities, values)
            gains = choose(self.rewards + following, axis=-1) - values
            if np.ptp(gains, axis=1).max() < 1e-9:  # the mean lies between least and largest
                return (gains.min(axis=1) + gains.max(axis=1)) / 2
            values += gains - gains[:, :1]

    def render_image(
        self, state: SwitchingMDPState, render_state: Any = None, params: Any = None
    ) -> tuple[Any, np.ndarray]:
        """A row of states for each process, the active one in strong colors: uint8.

        A cell is the greener the higher the state's best reward, and red where it is a loss.
        """
        image = drawing.grid(len(self.rewards), self.num_states)
        for (row, column), best in np.ndenumerate(self.rewards.max(axis=-1)):
            strength = abs(best) * (0.9 if row == int(state.mdp) else 0.2)
            full = _GAIN_COLOR if best > 0 else _LOSS_COLOR
            red, green, blue = (int(255 + strength * (value - 255)) for value in full)
            drawing.paint(image, row, column, drawing.ALL, (red, green, blue))
        place = int(state.mdp), int(state.at)
        drawing.paint(image, *place, drawing.DISC, _AGENT_COLOR)
        return render_state, image
