"""A study as its worker sees it: ask for a batch of trials, train them, tell what came of them.

    study = open_study(space, workdir, config.storage, config.seed)
    while not study.finished():
        trials = study.ask()  # none: other workers are still at theirs; wait a little
        study.tell([(trial, train(trial)) for trial in trials])

Two lists hold everything, and both only grow. A row is a trial, written once, when it has ended. A claim says that a
worker takes the next batch (the n-th has the trials from n·size on), or a batch whose worker seems to be dead. Nothing
has to be undone after a kill: a worker that starts again finds its batch and which trials of it are missing. Proposals
follow from the seed and the rows, so one worker's study is the undisturbed one however often it was killed.
"""

import json
import math
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlp_jax.errors import UserError
from mlp_jax.files.workdir import dumps
from mlp_jax.sweeps import samplers
from mlp_jax.sweeps.samplers import Params, Trial
from mlp_jax.sweeps.space import Space

if TYPE_CHECKING:
    from mlp_jax.sweeps.journal import Storage

BATCH = {"grid": 48, "random": 48, "bayes": 8}  # trials taken at once; TPE learns only between batches
LEAST_PATIENCE = 60.0  # seconds in which no trial of a batch ends, before its worker seems dead
TEST_ACCURACY = "test/accuracy"  # the attribute that nothing here reads but `test_accuracies`


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: its metric, not finite where it diverged, and whether `to_stop` ended it.

    `history` is the metric after each epoch, up to the last before it diverged (needed with early_terminate only);
    `result` is anything JSON can hold.
    """

    value: float
    pruned: bool = False
    history: Sequence[float] = ()
    result: dict[str, Any] = field(default_factory=dict)
    test_accuracy: float | None = None


@dataclass
class Batch:
    """Who works on a batch, what TPE proposed for it, how many rows there were then; how often it was taken over."""

    worker: str
    params: list[Params] | None
    seen: int
    redone: int = 0


class Study:
    """One worker's ask and tell."""

    def __init__(self, space: Space, seed: int, storage: "Storage", worker: str) -> None:
        self.space = space
        self.seed = seed
        self.worker = worker
        self.size = space.batch or BATCH[space.method]
        self._storage = storage
        self._rows = storage.entries(space.name, space.goal)
        self._claims = storage.entries(f"{space.name}, claims", space.goal)
        self._distributions = samplers.optuna_distributions(space)
        self._sequence = None if space.method == "bayes" else samplers.sequence(space, seed)
        self._trials: dict[int, Trial] = {}
        self._test_accuracies: dict[int, float] = {}
        self._workers: list[str] = []  # in the order in which they came
        self._batches: list[Batch] = []
        self._over = False
        self._moved, self._slowest = time.monotonic(), 0.0  # the last ask or tell; the longest from one to a tell
        self._waited: dict[int, tuple[tuple[int, int], float]] = {}  # batch -> how far it was, and since when

    def join(self, search: dict[str, Any]) -> None:
        """Makes this worker one of the study's; refuses a study of another search."""
        search = search | {"batch": self.size}
        known = self._storage.attempt(lambda: self._rows.settle("search", search))
        changed = [name for name in search if known.get(name) != search[name]]
        if changed:
            raise UserError(
                f"storage: {self._storage.shown} holds a sweep with another {', '.join(changed)}; "
                "allowed: that sweep, another --workdir, or in a shared database another sweep.name"
            )
        self._storage.attempt(self._read_claims)
        self._storage.attempt(self._read_rows)
        if self.worker not in self._workers:
            self._claim()

    def ask(self, batches: int = 1) -> list[Trial]:
        """The trials of a batch, or more, that are this worker's to train; none where there are none at present.

        First what an earlier life of this worker left, then a new batch, then one whose worker seems dead. In bayesian
        search a batch is proposed from what has been told: tell the last one before asking for the next.
        """
        self._storage.attempt(self._read_claims)
        mine = list(islice(self._mine(), batches))
        while len(mine) < batches and self._more():
            known = len(self._batches)
            self._claim(params=self._proposals(), seen=len(self._trials))
            mine += self._mine(known)
        if not mine:
            self._storage.attempt(self._read_rows)
            left = self._left_behind()
            if left is not None:
                self._claim(redo=left, after=self._batches[left].redone)
                mine = list(islice(self._mine(), 1))
        self._over = not mine and not self._more() and not self._running()
        self._storage.close()
        self._moved = time.monotonic()
        return [trial for batch in mine for trial in batch]

    def to_stop(self, epoch: int, histories: Mapping[int, Sequence[float]]) -> set[int]:
        """The numbers of those trials of a batch that early_terminate ends after `epoch`.

        `histories` holds the metric after each epoch of all its trials that this life has trained, those that have
        ended among them, once every one has come to `epoch` or to its end. Each is compared with the trials of lower
        number, as if they had been trained one after the other (W&B's own comparison): with those of its batch, and
        with those that were told when the batch was taken. So neither the order in which lanes get there nor a kill
        matters, nor, in grid and random search by one worker, the size of a batch.
        """
        early = self.space.early_terminate
        if early is None or epoch not in early.brackets or not histories:
            return set()
        batch = min(histories) // self.size
        told = list(self._trials.values())  # in the order of the rows
        before = told[: self._batches[batch].seen] + [other for other in told if other.number // self.size == batch]
        marks = {other.number: other.at_brackets for other in before}
        marks |= {number: self._at_brackets(history) for number, history in histories.items()}
        there = {number: history for number, history in histories.items() if len(history) == epoch}
        return {
            number
            for number, history in there.items()
            if samplers.should_stop(
                early, self.space.goal, history, [marks[other] for other in marks if other < number]
            )
        }

    def tell(self, outcomes: Sequence[tuple[Trial, Outcome]]) -> None:
        """Writes what came of trials; says in a line what does not count, as another worker was faster with it."""
        ended = [self._ended(trial, outcome) for trial, outcome in outcomes]
        finished = [trial.value for trial in [*self._trials.values(), *ended] if trial.status == "finished"]
        worst = samplers.worst_value(self.space.goal, finished)
        # Optuna takes no NaN.
        ended = [replace(trial, value=worst) if trial.status == "diverged" else trial for trial in ended]
        for trial, (_, outcome) in zip(ended, outcomes, strict=True):
            attributes = {"index": trial.number, "status": trial.status, "result": trial.result}
            if outcome.test_accuracy is not None:
                attributes[TEST_ACCURACY] = float(outcome.test_accuracy)
            row = samplers.frozen(trial, self._distributions, attributes)
            self._storage.attempt(partial(self._rows.add, row))
        self._storage.attempt(self._read_rows)
        for trial in ended:
            if self._trials[trial.number] != trial:
                name = self.space.trial_name(trial.number, trial.params)
                print(f"{name} (trial {trial.number}) is dropped: another worker took it over", file=sys.stderr)
        self._storage.close()
        now = time.monotonic()
        self._moved, self._slowest = now, max(self._slowest, now - self._moved)

    def finished(self) -> bool:
        """Whether the last `ask` found nothing to train, nor another worker that might die with a trial unfinished."""
        return self._over

    def trials(self) -> list[dict[str, Any]]:
        """Every trial that has ended, by number: number, name, parameters, metric, status, and its `result`."""
        return [self._line(self._trials[number]) for number in sorted(self._trials)]

    def best(self) -> dict[str, Any] | None:
        """The finished trial with the best metric, the first on ties, with the config fields that make it."""
        best = self._best()
        return self._line(best) | {"config": self.space.overrides(best.params)} if best else None

    def test_accuracies(self) -> dict[int, float]:
        """number -> test accuracy, of the trials that were told with one."""
        return dict(self._test_accuracies)

    def importance(self) -> dict[str, float]:
        """parameter -> its share of the metric's variance over the finished trials."""
        return samplers.importance(self.space, list(self._trials.values()))

    def close(self) -> None:
        """Lets go of the storage."""
        self._storage.close()

    def _mine(self, first: int = 0) -> Iterator[list[Trial]]:
        """What is missing of each unfinished batch of this worker, from number `first` on."""
        own = (number for number in range(first, len(self._batches)) if self._batches[number].worker == self.worker)
        return filter(None, map(self._missing, own))

    def _running(self) -> list[Trial]:
        """The trials that some worker has taken and not told."""
        return [trial for number in range(len(self._batches)) for trial in self._missing(number)]

    def _missing(self, batch: int) -> list[Trial]:
        """The trials of a batch that have not ended."""
        first, cap = batch * self.size, self.space.cap
        last = first + self.size if cap is None else min(first + self.size, cap)
        proposed = ((number, self._proposed(number)) for number in range(first, last) if number not in self._trials)
        return [Trial(number, params) for number, params in proposed if params is not None]

    def _proposed(self, number: int) -> Params | None:
        """The parameters of a trial whose batch has been taken; None where the space had no more."""
        if self._sequence:
            return self._sequence(number)
        params, place = self._batches[number // self.size].params or [], number % self.size
        return params[place] if place < len(params) else None

    def _more(self) -> bool:
        """Whether there is another batch to take."""
        first, best, target = len(self._batches) * self.size, self._best(), self.space.target
        if best is not None and target is not None and self._loss(best.value) <= self._loss(target):
            return False
        if self._sequence and self._sequence(first) is None:
            return False
        return self.space.cap is None or first < self.space.cap

    def _best(self) -> Trial | None:
        finished = (trial for trial in self._trials.values() if trial.status == "finished")
        return min(finished, key=lambda trial: (self._loss(trial.value), trial.number), default=None)

    def _loss(self, value: float) -> float:
        """The metric as something to be made small."""
        return -value if self.space.goal == "maximize" else value

    def _proposals(self) -> list[Params] | None:
        """What TPE proposes for a whole batch, whatever the cap; grid and random have their sequence."""
        if self._sequence:
            return None
        place = self._workers.index(self.worker)
        return samplers.bayes(self.space, self.seed, [*self._trials.values(), *self._running()], self.size, place)

    def _left_behind(self) -> int | None:
        """A batch that has not moved for a minute at least, and three times as long as any of this worker's own."""
        now, before, self._waited = time.monotonic(), self._waited, {}
        for number, batch in enumerate(self._batches):
            state = len(self._missing(number)), batch.redone
            if state[0]:
                known = before.get(number)
                self._waited[number] = known if known and known[0] == state else (state, now)
        patience = max(LEAST_PATIENCE, 3 * self._slowest)
        left = [number for number, (_, since) in self._waited.items() if now - since > patience]
        return random.choice(left) if left else None  # by chance, so that idle workers seldom want the same

    def _claim(self, **what: Any) -> None:
        """Enters a claim of this worker, then reads which of those made at once came first."""
        self._storage.attempt(lambda: self._claims.note({"worker": self.worker} | what))
        self._storage.attempt(self._read_claims)

    def _read_claims(self) -> None:
        for claim in self._claims.new():
            said = claim.user_attrs
            if "params" in said:
                self._batches.append(Batch(said["worker"], said["params"], said.get("seen", 0)))
            elif "redo" not in said:
                self._workers.append(said["worker"])
            elif said["after"] == self._batches[said["redo"]].redone:  # else another idle worker was first
                batch = self._batches[said["redo"]]
                batch.worker, batch.redone = said["worker"], batch.redone + 1

    def _read_rows(self) -> None:
        for row in self._rows.new():
            said, params = row.user_attrs, samplers.snapped(self.space, row.params)
            if said["index"] in self._trials:  # two workers did it at the same time; the first counts
                continue
            told = Trial(
                said["index"], params, said["status"], float(row.value or 0), row.intermediate_values, said["result"]
            )
            self._trials[told.number] = told
            if TEST_ACCURACY in said:
                self._test_accuracies[told.number] = said[TEST_ACCURACY]

    def _ended(self, trial: Trial, outcome: Outcome) -> Trial:
        """The trial with what came of it."""
        finite = math.isfinite(outcome.value)
        return replace(
            trial,
            status="diverged" if not finite else "pruned" if outcome.pruned else "finished",
            value=float(outcome.value),
            at_brackets=self._at_brackets(outcome.history),
            result=json.loads(dumps(outcome.result)),
        )

    def _at_brackets(self, history: Sequence[float]) -> dict[int, float]:
        """The metric after those epochs that stop trials early."""
        brackets = self.space.early_terminate.brackets if self.space.early_terminate else ()
        values = {epoch: float(history[epoch - 1]) for epoch in brackets if epoch <= len(history)}
        return {epoch: value for epoch, value in values.items() if math.isfinite(value)}

    def _line(self, trial: Trial) -> dict[str, Any]:
        name = self.space.trial_name(trial.number, trial.params)
        metric = None if trial.status == "diverged" else trial.value
        line = {"number": trial.number, "name": name, "parameters": trial.params, "metric": metric}
        return line | {"status": trial.status} | trial.result


def open_study(space: Space, workdir: Path, storage: str = "", seed: int = 0, config: str = "") -> Study:
    """The study of a sweep, made or found: in workdir/study.journal, or where the URL `storage` says.

    The journal in the workdir is this worker's alone. Processes with a file system in common share journal:///FILE or
    sqlite:///FILE, any number of machines postgresql://… `config` is a fingerprint of what else decides a trial's
    numbers; a study begun under another one is refused, as is one of another search or seed. UserError says in a line
    what cannot be opened.
    """
    from mlp_jax.sweeps.journal import open_storage, worker_name  # with Optuna, which is slow to import

    opened = open_storage(storage, workdir)
    try:
        study = Study(space, seed, opened, worker_name(workdir) if storage else "")
        study.join(space.fingerprint() | {"seed": seed, "config": config})
    except UserError:
        opened.close()
        raise
    return study
