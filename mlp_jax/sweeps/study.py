"""A search as its worker sees it: ask for trials, train them, tell what came of them.

    study = open_study(space, workdir, config.storage, config.seed)
    while not study.finished():
        trials = study.ask(count)  # none: other workers' trials are still running; wait a little
        study.tell([(trial, train(trial)) for trial in trials])

With one worker a study killed at any moment and opened again is the undisturbed one: a batch is claimed at once, its
proposals follow from the seed and from the trials told before it, and trials that were running come back first.
"""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

from mlp_jax.errors import UserError
from mlp_jax.sweeps import samplers as proposals
from mlp_jax.sweeps.database import open_storage
from mlp_jax.sweeps.samplers import Params, Told
from mlp_jax.sweeps.space import Space
from mlp_jax.sweeps.storage import Row, Storage

HEARTBEAT_SECONDS = 15.0
MISSED_BEATS = 4  # after so many a worker counts as dead
TEST_ACCURACY = "test/accuracy"  # the attribute that nothing here reads but `test_accuracies`


@dataclass(frozen=True)
class Trial:
    """What to train: `overrides` are config fields, `params` what is searched, as the study has it."""

    number: int
    name: str
    params: Params
    overrides: dict[str, Any]
    row: Row


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: its metric, not finite where it diverged, and whether `should_stop` ended it.

    `history` is the metric after each epoch (needed with early_terminate only), `result` anything JSON can hold.
    """

    value: float
    pruned: bool = False
    history: Sequence[float] = ()
    result: dict[str, Any] = field(default_factory=dict)
    test_accuracy: float | None = None


class Study:
    """One worker's ask and tell on a study."""

    def __init__(self, space: Space, seed: int, storage: Storage, place: int, heartbeat_seconds: float) -> None:
        self.space = space
        self.seed = seed
        self.storage = storage
        self.heartbeat_seconds = heartbeat_seconds
        self._place = place  # among the study's workers, in the order in which they came
        self._sequence = None if space.method == "bayes" else proposals.sequence(space, seed)
        self._left_over: list[Row] | None = None  # None: not looked up yet
        self._earlier: dict[int, list[dict[int, float]]] = {}  # the batch under way -> what trials before it came to
        self._exhausted = False
        self._looked = -math.inf  # when dead workers were last looked for

    def ask(self, count: int) -> list[Trial]:
        """Up to `count` trials that are this worker's to train; none where there are none at present.

        First those that an earlier life of this worker left running, then those of dead workers, then new ones. In
        bayesian search each call sees what has been told: tell the last batch before asking for the next.
        """
        if count < 1:
            return []
        if self._left_over is None:
            self._left_over = self.storage.left_over()
        rows, self._left_over = self._left_over[:count], self._left_over[count:]
        if not rows and time.monotonic() - self._looked > self.heartbeat_seconds:
            rows = self._inherit(count)
        rows = rows or self._new(count) or self._inherit(count)
        if self.storage.held:
            self.storage.beat(self.heartbeat_seconds)
        return [Trial(row.number, self._name(row), row.params, self.space.overrides(row.params), row) for row in rows]

    def should_stop(self, trial: Trial, history: Sequence[float]) -> bool:
        """Whether early_terminate ends the trial after the epochs of `history`, the metric after each, from epoch 1.

        It is compared with the trials of earlier batches alone, so that the order in which lanes of a batch get there
        does not matter. (With batches of one trial that is W&B's own comparison.)
        """
        early = self.space.early_terminate
        if early is None or len(history) not in early.brackets:
            return False
        batch = trial.row.attributes["batch"]
        if batch not in self._earlier:
            rows = self.storage.rows()
            self._earlier = {batch: [row.at_brackets for row in rows if row.attributes["batch"] < batch]}
        return proposals.should_stop(early, self.space.goal, history, self._earlier[batch])

    def tell(self, outcomes: Sequence[tuple[Trial, Outcome]]) -> None:
        """Writes what came of trials, all at once; drops, with a line, what another worker has taken over."""
        diverged = not all(math.isfinite(outcome.value) for _, outcome in outcomes)
        values = [row.value for row in self.storage.rows() if row.status == "finished"] if diverged else []
        values += [outcome.value for _, outcome in outcomes if not outcome.pruned]
        worst = proposals.worst_value(self.space.goal, [value for value in values if value is not None])
        for row in self.storage.finish([self._ended(trial, outcome, worst) for trial, outcome in outcomes]):
            print(f"{self._name(row)} (trial {row.number}) is dropped: another worker took it over", file=sys.stderr)

    def finished(self) -> bool:
        """Whether there is nothing left to ask for, nor another worker that might die with a trial unfinished."""
        return self._exhausted and not self.storage.running()

    def trials(self) -> list[dict[str, Any]]:
        """Every trial that has ended, by number: number, name, parameters, metric, status, and its `result`."""
        return [self._line(row) for row in self.storage.rows() if row.status != "running"]

    def best(self) -> dict[str, Any] | None:
        """The finished trial with the best metric, the first on ties, with the config fields that make it."""
        ended = [(row.value, row) for row in self.storage.rows() if row.status == "finished" and row.value is not None]
        if not ended:
            return None
        _, row = (max if self.space.goal == "maximize" else min)(ended, key=itemgetter(0))
        return self._line(row) | {"config": self.space.overrides(row.params)}

    def test_accuracies(self) -> dict[int, float]:
        """number -> test accuracy, of the trials that were told with one."""
        rows = self.storage.rows()
        return {row.number: row.attributes[TEST_ACCURACY] for row in rows if TEST_ACCURACY in row.attributes}

    def importance(self) -> dict[str, float]:
        """parameter -> its share of the metric's variance over the finished trials."""
        return proposals.importance(self.space, [_told(row) for row in self.storage.rows()])

    def close(self) -> None:
        """Stops the heartbeat and lets go of the database."""
        self.storage.close()

    def _name(self, row: Row) -> str:
        return self.space.trial_name(row.number, row.params)

    def _line(self, row: Row) -> dict[str, Any]:
        metric = None if row.status == "diverged" else row.value
        line = {"number": row.number, "name": self._name(row), "parameters": row.params, "metric": metric}
        return line | {"status": row.status} | row.attributes.get("result", {})

    def _inherit(self, count: int) -> list[Row]:
        self._looked = time.monotonic()
        return self.storage.take_over(count, MISSED_BEATS * self.heartbeat_seconds) if self.storage.worker else []

    def _new(self, count: int) -> list[Row]:
        if self._exhausted:
            return []
        propose = self._next if self._sequence else self._drafts(count)
        rows = [] if self._target_reached() else self.storage.claim(count, propose, self.space.trial_name)
        self._exhausted = not rows
        return rows

    def _next(self, first: int, count: int) -> list[Params]:
        """Grid and random: the elements of the sequence from the first number that is free."""
        assert self._sequence is not None
        last = first + count if self.space.cap is None else min(first + count, self.space.cap)
        found = (self._sequence(number) for number in range(first, last))
        return [params for params in found if params is not None]

    def _drafts(self, count: int) -> Callable[[int, int], list[Params]]:
        """Bayes: what TPE proposes, thought out before the study is locked, less what others have claimed by then."""
        told = [_told(row) for row in self.storage.rows()]
        cap = len(told) + count if self.space.cap is None else self.space.cap
        drafts = proposals.bayes(self.space, self.seed, told, min(count, cap - len(told)), self._place)

        def propose(first: int, count: int) -> list[Params]:
            taken = {proposals.key(row.params) for row in self.storage.rows()} if first > len(told) else set()
            kept: list[Params] = []
            for draft in drafts[: max(0, cap - first)]:
                params = proposals.unseen(self.space, draft, taken, self.seed)
                if params is not None:
                    taken.add(proposals.key(params))
                    kept.append(params)
            return kept

        return propose

    def _target_reached(self) -> bool:
        target, best = self.space.target, self.best() if self.space.target is not None else None
        if target is None or best is None:
            return False
        return bool(best["metric"] >= target if self.space.goal == "maximize" else best["metric"] <= target)

    def _ended(self, trial: Trial, outcome: Outcome, worst: float) -> Row:
        finite = math.isfinite(outcome.value)
        status = "diverged" if not finite else "pruned" if outcome.pruned else "finished"
        early = self.space.early_terminate
        epochs = enumerate(outcome.history, 1)
        marks = {epoch: float(value) for epoch, value in epochs if early and epoch in early.brackets}
        attributes = trial.row.attributes | {"status": status, "result": _finite(outcome.result)}
        if outcome.test_accuracy is not None:
            attributes[TEST_ACCURACY] = float(outcome.test_accuracy)
        return replace(
            trial.row,
            attributes=attributes,
            value=float(outcome.value) if finite else worst,
            at_brackets={epoch: value for epoch, value in marks.items() if math.isfinite(value)},
        )


def open_study(
    space: Space,
    workdir: Path,
    storage: str = "",
    seed: int = 0,
    config: str = "",
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> Study:
    """The study of a sweep, made or found: in workdir/study.db, or in the database that `storage` names.

    `config` is a fingerprint of what else decides a trial's numbers; a study begun under another one is refused, as is
    one of another search or seed. A UserError says in a line what cannot be opened.
    """
    kinds = {name: proposals.optuna_distribution(kind) for name, kind in space.parameters.items()}
    opened = open_storage(storage, Path(workdir), space.name, space.goal, kinds)
    try:
        place = opened.join(space.fingerprint() | {"seed": seed, "config": config})
    except UserError:
        opened.close()
        raise
    return Study(space, seed, opened, place, heartbeat_seconds)


def _told(row: Row) -> Told:
    value = math.nan if row.value is None else row.value
    return Told(row.number, row.params, row.status, value, row.at_brackets)


def _finite(value: Any) -> Any:
    """The value with null for every number that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
