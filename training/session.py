"""A run between its start, or where it had come to, and its end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from selftuning.agents import self_tuning
from selftuning.agents.self_tuning import AgentState, SelfTuningAgent
from selftuning.configs.errors import ConfigError, FailedEnvironmentError
from selftuning.configs.settings import RunSettings
from selftuning.envs import lives
from selftuning.envs.task import GraphTask, Task
from selftuning.training import (
    acting,
    faults,
    history,
    loop,
    parallel,
    provenance,
    saved_agent,
)
from selftuning.training.acting import Agent
from selftuning.training.best import Best
from selftuning.training.evaluation import Evaluation
from selftuning.training.going_on import Before, Found
from selftuning.training.progress import Snapshot, make_progress
from selftuning.training.recorder import Recorder
from selftuning.training.runner import Runner, TrainState
from selftuning.training.saving import Saver
from selftuning.training.signals import Stopped, stop_signal
from selftuning.training.summary import summary_of

_MOST_HALVINGS = 10
_NOTHING = Before(0, 0.0, 0.0, 0.0, 0, history.Mark(0, ""), {}, 0, "")


class Session:
    """What trains, with all that is known of the run.

    Attributes:
      recorder: of the run.
      chosen: its evaluations during training.
      before: what earlier sessions had done.
      compile_seconds: of all sessions, and so the next.
      seconds: that training took.
      stopped: whether and by which signal it was stopped.
      failed: the error of an environment that ended it, if one did.
      finished: whether all steps were done.
      agent_state: of the agent at the end.
      agent_steps: environment steps that this agent was trained for.
    """

    def __init__(
        self,
        task: Task,
        functions: SelfTuningAgent,
        settings: RunSettings,
        runner: Runner,
        judge: Callable[[Agent, int], Evaluation],
        *,
        given: bool,
        found: Found | None,
        begun: float,
        keep_environments: bool = False,
    ):
        """Prepares it.

        Args:
          task: to train on.
          functions: the agent.
          settings: of the run.
          runner: of task and agent.
          judge: evaluates agents in training.
          given: whether the task itself was given, and is no environment that the settings name.
          found: where the run goes on, if it does.
          begun: when this began (`time.perf_counter`).
          keep_environments: whether checkpoints have the environments of the host too.
        """
        self._task, self._functions, self._settings = task, functions, settings
        self._runner, self._given, self._found, self._begun = runner, given, found, begun
        self._restored = False
        self._code, self._keeps = provenance.code_version(), keep_environments
        self.recorder = Recorder(task.spec, settings, runner.steps_per_cycle)
        self.chosen = Best(
            settings.eval_every, lambda state, n: self._agent(parallel.here(state), n), judge
        )
        self.recorder.evaluations = self.chosen.evaluations
        self.before = (found and found.before) or _NOTHING
        done = found.env_steps if found else 0
        # More steps than were asked for at first are planned from where they begin: those that
        # were done stay in the chunks that they were.
        self._leg = self.before.leg if self.before.steps == settings.steps else done
        self._plan = loop.plan(max(settings.steps - self._leg, 1), runner.steps_per_cycle)
        self._chunks = max(0, self._plan.chunks - (done - self._leg) // self._steps_per_chunk)
        if settings.steps <= done:
            self._chunks = 0
        self.compile_seconds, self.seconds = self.before.compile_seconds, self.before.seconds
        self.stopped, self.finished = Stopped(), False
        self.failed: FailedEnvironmentError | None = None

    @property
    def _steps_per_chunk(self) -> int:
        return self._plan.cycles * self._runner.steps_per_cycle

    def compile(self) -> None:
        """Compiles, and begins or takes up the state of the run.

        Raises:
          ConfigError: if the checkpoint is not of this agent.
        """
        begun, runner, settings = time.perf_counter(), self._runner, self._settings
        # Start values are arguments, not constants: another start compiles nothing anew.
        start = {name: jnp.asarray(spec.start, float) for name, spec in settings.in_use.items()}
        state = runner.init(jax.random.PRNGKey(settings.seed), start)
        self._advance = runner.compile(state, self._plan.cycles)
        if self._found is not None and self._found.file is not None:
            rest = jax.eval_shape(runner.whole, state)
            saved = saved_agent.training_state(self._found.file, self._functions, rest)
            self._restored = self._keeps and self._restore(self._found)
            state = runner.again(state, *saved, self._restored)
            self.chosen.go_on(self.before.evaluations, self._best_before())
        self._state = state
        self.compile_seconds += time.perf_counter() - begun

    @property
    def goes_on(self) -> str:
        """A line that says where, and what does not."""
        if self.before is _NOTHING:
            return "no checkpoint is there yet: beginning at the first step"
        done = f"going on after {self.recorder.env_steps:,} of {self._settings.steps:,} steps"
        if isinstance(self._task, GraphTask):
            return done
        if self._restored:
            return f"{done}, with the environments as they were"
        there = " (saved ones are there: --save-environments)" if self.before.environments else ""
        lives_on = ", their lives go on" if lives.is_life(self._settings.env) else ""
        return f"{done}; environments of the host begin new episodes{lives_on}{there}"

    def _restore(self, found: Found) -> bool:
        content = found.environments()
        if content is None or isinstance(self._task, GraphTask) or self._task.keep is None:
            return False
        self._task.keep.restore(content)
        return True

    def _best_before(self) -> Agent | None:
        """The best agent that evaluations before have found; None, and a warning, if it is lost."""
        assert self._found is not None
        try:
            file = self._found.best()
        except ConfigError as error:
            faults.warn(f"{error}; the best agent so far is lost")
            return None
        if file is None:
            return None
        state, _ = saved_agent.training_state(file, self._functions)
        return self._agent(state, file.env_steps)

    def learn(
        self, saver: Saver, console: Console, callback: Callable[[Snapshot], object] | None
    ) -> None:
        """Runs all chunks that are left, and saves the agent.

        It ends early where a signal or the callback says so, where an environment fails, and
        where a number is not finite and the settings say to stop then. The agent is then the last
        one that is of use.
        """
        recorder, policy = self.recorder, self._settings.on_divergence
        before, since, halvings, lost = recorder.env_steps, time.perf_counter(), 0, None
        say = partial(console.print, highlight=False, soft_wrap=True)

        def take(metrics):
            snapshot = recorder.add(metrics)
            progress.update(snapshot)
            enough = self.diverged and (policy == "stop" or halvings > _MOST_HALVINGS)
            return enough or (callback is not None and callback(snapshot) is True)

        def watch(state, done):
            self._state = state
            return self.chosen(state.agent, before + done * self._steps_per_chunk)

        def save(state, _=None):
            if not self.diverged:
                self.seconds = self.before.seconds + time.perf_counter() - since
                kept = self._environments()
                saver.save(self._content(state, kept), self._is_best, kept)

        def slower(state):
            nonlocal halvings
            assert saver.last is not None
            halvings += 1
            if halvings > _MOST_HALVINGS:
                return state
            at = f"from the agent of step {saver.last.env_steps:,}"
            say(f"{recorder.fault}: on with half the learning rate, {at}")
            recorder.fault = None
            self._episodes_again(saver.last.env_steps)
            state = self._slower(saver.last, state)
            saver.last = self._content(state)
            return state

        self._take_up_episodes()
        total = self._leg + self._plan.chunks * self._steps_per_chunk
        with (
            make_progress(console, total) as progress,
            stop_signal(say) as self.stopped,
        ):
            recorder.start_clock(self.before.seconds)
            saver.last = self._content(self._state)  # what there is if nothing good follows
            try:
                ended = loop.run_chunks(
                    self._advance,
                    self._state,
                    self._chunks,
                    take,
                    in_background=self._runner.in_background,
                    stopped=lambda: parallel.any_process(self.stopped()),
                    due=lambda: parallel.any_process(saver.due()),
                    save=save,
                    watch=watch,
                    broken=lambda: self.diverged and policy == "halve",
                    mend=slower,
                )
                self._state, self.finished = ended.state, ended.chunks == self._chunks
            except FailedEnvironmentError as error:
                self.failed = error  # on the host, where the state before the chunk is still there
            except jax.errors.JaxRuntimeError as error:
                self.failed = lost = faults.in_callback(error, recorder.env_steps)
                if lost is None:
                    raise
        self.seconds = self.before.seconds + time.perf_counter() - since
        self.finished = self.finished and not self.diverged
        of_no_use = self.diverged or lost is not None
        if of_no_use:
            saver.save(saver.last)
        else:
            kept = self._environments()
            saver.save(self._content(self._state, kept), self._is_best, kept)
        self.agent_steps = saver.last.env_steps
        self.agent_state, _ = saved_agent.state_of(saver.last.parts, self._functions)

    def _take_up_episodes(self) -> None:
        """Knows when the episodes began that go on where a run does."""
        recorder, begun = self.recorder, self.before.begun
        if not isinstance(self._task, GraphTask) and not self._restored:
            recorder.begun[:] = recorder.env_steps
        elif len(begun) == len(recorder.begun):
            recorder.begun[:] = begun

    def _episodes_again(self, saved: int) -> None:
        """The same, where environments are again as they were saved after so many steps."""
        graph = isinstance(self._task, GraphTask)
        before = self._episodes_begun - saved if graph else 0  # on the host they begin anew
        self.recorder.begun[:] = self.recorder.env_steps + before

    @property
    def diverged(self) -> bool:
        """Whether a number was not finite, and that is not to be passed over."""
        return self.recorder.fault is not None and self._settings.on_divergence != "ignore"

    def summary(
        self, evaluated: Evaluation | None, judged: dict | None, finished: bool
    ) -> dict[str, Any]:
        """The content of summary.json; see `summary_of`."""
        return summary_of(
            self.recorder,
            self._functions,
            self.agent_state,
            evaluated,
            self.seconds,
            judged,
            finished,
            self.agent_steps,
            wall_seconds=self.wall_seconds,
            compile_seconds=self.compile_seconds,
        )

    @property
    def wall_seconds(self) -> float:
        """That passed in all sessions."""
        return self.before.wall_seconds + time.perf_counter() - self._begun

    @property
    def _is_best(self) -> bool:
        best = self.chosen.agent
        return best is not None and best.env_steps == self.recorder.env_steps

    def _environments(self) -> bytes:
        """Those of the host at the end of a chunk, if they are kept."""
        task = self._task
        if not self._keeps or self.failed is not None or isinstance(task, GraphTask):
            return b""
        return task.keep.state() if task.keep is not None else b""

    def _content(self, state: TrainState, environments: bytes = b"") -> saved_agent.Content:
        """What a checkpoint is to have, when all metrics up to the state were taken."""
        recorder = self.recorder
        self._episodes_begun = recorder.begun.copy()
        before = Before(
            self._leg,
            self.seconds,
            self.compile_seconds,
            self.wall_seconds,
            recorder.log.mark() if recorder.log else 0,
            recorder.history.mark() if recorder.history else history.Mark(0, ""),
            dict(self.chosen.evaluations),
            self._settings.steps,
            self._code,
            hashlib.sha256(environments).hexdigest() if environments else "",
            tuple(recorder.begun.tolist()),
        )
        rest = parallel.whole(self._runner.whole(state))
        agent, spec = parallel.here(state.agent), self._task.spec
        steps = recorder.env_steps
        return saved_agent.content(self._functions, agent, spec, steps, rest, before.plain())

    def _slower(self, content: saved_agent.Content, state: TrainState) -> TrainState:
        """The state of a checkpoint, with half the learning rate."""
        agent, rest = saved_agent.state_of(content.parts, self._functions)
        halved = self_tuning.with_value(agent, self._settings, "learning_rate", lambda x: x / 2)
        return self._runner.again(state, halved, rest)

    def agent(self) -> Agent:
        """The agent that the session came to."""
        return self._agent(self.agent_state, self.agent_steps)

    def _agent(self, state: AgentState, env_steps: int) -> Agent:
        task, given = self._task, self._given
        return acting.of_task(task, self._settings, self._functions, state, env_steps, given=given)
