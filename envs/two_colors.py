"""Two Colors: a grid with two squares, one good and one bad, which change roles now and then."""

from __future__ import annotations

import copy
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.experimental.functional import FuncEnv

from selftuning.configs.errors import require
from selftuning.envs import drawing
from selftuning.envs.functional import check_count, check_positive

SIZE = 5
CELLS = SIZE * SIZE
RESPAWN = ("touched", "all")

_AGENT_COLOR = (60, 60, 60)
_SQUARE_COLORS = ((31, 119, 180), (255, 127, 14))
_MARK_COLOR = (255, 255, 255)


class TwoColorsState(NamedTuple):
    """Three different cells, numbered row by row, and the time."""

    agent: jax.Array  # [] int32
    first: jax.Array  # [] int32: the square of the first color
    second: jax.Array  # [] int32
    clock: jax.Array  # [] int32: steps so far, modulo two times `switch_every`


class TwoColors(FuncEnv):
    """Touch the good square and not the bad one; which is which changes, and is not shown.

    The non-stationary task of Flennerhag et al. (2022), "Bootstrapped Meta-Learning". An agent
    moves on a grid of 5x5 cells (actions: up, down, left, right; walls block) in one stream
    without end. Stepping onto the square of one color is rewarded by 1, onto the other by -1;
    all other steps cost. The observation [30] is the row and the column of agent, first and
    second square, as one number of five each that is 1.

    Args:
      step_reward: reward of a step that touches nothing.
      switch_every: steps between two changes of the signs. The first square is the good one
        for the first `switch_every` steps.
      respawn: what moves after a touch. "touched": the touched square, to a random free cell.
        "all": agent and squares, to random different cells; with a `step_reward` of 0 this is
        the variant of Luketina et al. (2022), "Meta-Gradients in Non-Stationary Environments".
      begins: steps that are over when the stream begins: of a run that goes on, or an evaluation.

    Raises:
      ConfigError: a setting is not allowed.
    """

    levels = 2  # of a life: which square is good
    observation_space = spaces.Box(0.0, 1.0, (6 * SIZE,), np.float32)
    action_space = spaces.Discrete(4)

    def __init__(
        self,
        step_reward: float = -0.04,
        switch_every: int = 100_000,
        respawn: str = "touched",
        begins: int = 0,
    ):
        super().__init__()
        check_positive("switch_every", switch_every)
        require(switch_every <= 2**30, "switch_every", switch_every, "at most 2**30")
        _check_respawn(respawn)
        check_count("begins", begins)
        self.begins = begins
        self.step_reward = float(step_reward)
        self.switch_every = switch_every
        self.respawn = respawn

    def beginning(self, begins: int) -> TwoColors:
        """The same stream, which begins after so many steps."""
        check_count("begins", begins)
        later = copy.copy(self)
        later.begins = begins
        return later

    def initial(self, rng: jax.Array, params: Any = None) -> TwoColorsState:
        """Three random different cells, at the time when the stream begins."""
        return jax.tree.map(lambda leaf: leaf[0], self.initial_batch(rng, 1))

    def initial_batch(self, rng: jax.Array, num: int) -> TwoColorsState:
        """`num` start states, each leaf [num], from one key."""
        cells = _different_cells(jax.random.bits(rng, (num,), jnp.uint32))
        clock = self.begins % (self.levels * self.switch_every)
        return TwoColorsState(*cells, jnp.full(num, clock, jnp.int32))

    def carry_over(self, start: TwoColorsState, ended: TwoColorsState) -> TwoColorsState:
        """The start of the next episode of a stream that a time limit cuts: its time goes on."""
        return start._replace(clock=ended.clock)

    def transition(
        self, state: TwoColorsState, action: Any, rng: jax.Array, params: Any = None
    ) -> TwoColorsState:
        """State after one step; what has been touched is already elsewhere."""
        agent = _move(state.agent, action)
        on_first, on_second = agent == state.first, agent == state.second
        # One number is drawn in every step. Its remainders are uniform but for 1e-5 of their
        # probability, at less than half the price of `jax.random.randint`.
        draw = jax.random.bits(rng, (), jnp.uint32)
        clock = self._tick(state.clock)
        if self.respawn == "all":
            untouched = TwoColorsState(agent, state.first, state.second, clock)
            fresh = TwoColorsState(*_different_cells(draw), clock)
            touched = on_first | on_second
            return jax.tree.map(lambda new, old: jnp.where(touched, new, old), fresh, untouched)
        other = jnp.where(on_first, state.second, state.first)
        cell = _free_cell(_remainder(draw, CELLS - 2), agent, other)
        first = jnp.where(on_first, cell, state.first)
        return TwoColorsState(agent, first, jnp.where(on_second, cell, state.second), clock)

    def observation(self, state: TwoColorsState, rng: Any, params: Any = None) -> jax.Array:
        """Rows and columns of agent, first and second square as ones among zeros: [30]."""
        cells = jnp.stack(state[:3])
        places = jnp.stack([cells // SIZE, cells % SIZE], axis=-1)
        return (places[..., None] == jnp.arange(SIZE)).astype(jnp.float32).reshape(-1)

    def reward(
        self,
        state: TwoColorsState,
        action: Any,
        next_state: TwoColorsState,
        rng: Any,
        params: Any = None,
    ) -> jax.Array:
        """1 or -1 for a touch, by the signs before this step ended; `step_reward` for none."""
        agent = _move(state.agent, action)
        sign = jnp.where(self.first_is_good(state), 1.0, -1.0).astype(jnp.float32)
        otherwise = jnp.where(agent == state.second, -sign, jnp.float32(self.step_reward))
        return jnp.where(agent == state.first, sign, otherwise)

    def terminal(self, state: TwoColorsState, rng: Any, params: Any = None) -> jax.Array:
        """Never."""
        return jnp.asarray(False)

    def first_is_good(self, state: TwoColorsState) -> jax.Array:
        """Whether the next touch of the first square is rewarded by 1, of the second by -1."""
        return state.clock < self.switch_every

    def render_image(
        self, state: TwoColorsState, render_state: Any = None, params: Any = None
    ) -> tuple[Any, np.ndarray]:
        """The grid from above, [321, 321, 3] uint8; the good square bears a plus."""
        image = drawing.grid(SIZE, SIZE)
        first_is_good = bool(self.first_is_good(state))
        squares = zip(state[1:3], _SQUARE_COLORS, (first_is_good, not first_is_good), strict=True)
        for cell, color, is_good in squares:
            place = divmod(int(cell), SIZE)
            drawing.paint(image, *place, drawing.SQUARE, color)
            mark = drawing.PLUS if is_good else drawing.MINUS
            drawing.paint(image, *place, mark, _MARK_COLOR)
        drawing.paint(image, *divmod(int(state.agent), SIZE), drawing.DISC, _AGENT_COLOR)
        return render_state, image

    def _tick(self, clock: jax.Array) -> jax.Array:
        # Counting on would end at 2**31: the stream has no end, but its signs have a period.
        return jnp.where(clock == self.levels * self.switch_every - 1, 0, clock + 1)


def optimal_reward(step_reward: float = -0.04, respawn: str = "touched") -> float:
    """Mean reward per step of the best policy that knows which square is the good one.

    By value iteration over all places of agent and squares. That policy looks far ahead: it
    touches the bad square now and then, so that this comes to lie out of the way, for long.
    An agent also has to find the signs out again after each change, and will stay below.

    Raises:
      ConfigError: `respawn` is not allowed.
    """
    return _solve(step_reward, respawn, np.max)[0]


def random_reward(step_reward: float = -0.04, respawn: str = "touched") -> float:
    """Mean reward per step of actions drawn uniformly; see `optimal_reward`."""
    return _solve(step_reward, respawn, np.mean)[0]


@functools.cache
def _solve(step_reward: float, respawn: str, choose: Any) -> tuple[float, np.ndarray]:
    """Mean reward per step and values [action, agent, good, bad], by relative value iteration.

    `choose(values, axis)` makes one value of those of the actions.
    """
    _check_respawn(respawn)
    cell = np.arange(CELLS)
    agent, good, bad = np.meshgrid(cell, cell, cell, indexing="ij", sparse=True)
    allowed = (agent != good) & (agent != bad) & (good != bad)  # [agent, good, bad]
    moved = _successors()[:, :, None, None]  # [action, agent, 1, 1]
    on_good, on_bad = moved == good, moved == bad
    values = np.zeros(allowed.shape)
    while True:
        if respawn == "all":
            after_good = after_bad = values[allowed].mean()
        else:  # `values` are 0 where squares or agent share a cell
            after_good = (values.sum(axis=1) / (CELLS - 2))[moved, bad]
            after_bad = (values.sum(axis=2) / (CELLS - 2))[moved, good]
        of_actions = np.where(
            on_good,
            1.0 + after_good,
            np.where(on_bad, -1.0 + after_bad, step_reward + values[moved, good, bad]),
        )
        new_values = choose(of_actions, axis=0)
        gains = (new_values - values)[allowed]
        if np.ptp(gains) < 1e-6:  # the mean reward lies between the least and the largest
            return float(gains.min() + gains.max()) / 2, of_actions
        values = np.where(allowed, new_values - new_values[allowed][0], 0.0)


def _successors() -> np.ndarray:
    """Cells [action, cell] that the actions lead to."""
    row, column = np.divmod(np.arange(CELLS), SIZE)
    up, down = np.maximum(row - 1, 0), np.minimum(row + 1, SIZE - 1)
    left, right = np.maximum(column - 1, 0), np.minimum(column + 1, SIZE - 1)
    return np.stack(
        [up * SIZE + column, down * SIZE + column, row * SIZE + left, row * SIZE + right]
    )


def _move(cell: jax.Array, action: Any) -> jax.Array:
    """The cell [] that an action leads to."""
    row, column = cell // SIZE, cell % SIZE
    step = jnp.where(action % 2 == 0, -1, 1)
    row = jnp.clip(row + jnp.where(action < 2, step, 0), 0, SIZE - 1)
    column = jnp.clip(column + jnp.where(action < 2, 0, step), 0, SIZE - 1)
    return row * SIZE + column


def _different_cells(draw: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Three different cells [...] from random bits [...] uint32."""
    rank = _remainder(draw, CELLS * (CELLS - 1) * (CELLS - 2))
    one, rank = rank % CELLS, rank // CELLS
    two, rank = rank % (CELLS - 1), rank // (CELLS - 1)
    two = two + (two >= one)
    return one, two, _free_cell(rank, one, two)


def _free_cell(rank: jax.Array, one: jax.Array, two: jax.Array) -> jax.Array:
    """The cell that has this rank, 0 to 22, among those that are neither `one` nor `two`."""
    cell = rank + (rank >= jnp.minimum(one, two))
    return cell + (cell >= jnp.maximum(one, two))


def _remainder(draw: jax.Array, divisor: int) -> jax.Array:
    return (draw % divisor).astype(jnp.int32)


def _check_respawn(respawn: str) -> None:
    require(respawn in RESPAWN, "respawn", repr(respawn), " | ".join(RESPAWN))
