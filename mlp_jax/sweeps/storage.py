"""A study's trials in Optuna's tables, written in bulk: claims, heartbeats, results. SQLite, or PostgreSQL for many.

Optuna makes the tables and can read all that is here (optuna-dashboard, optuna.load_study). The writing is our own:
one transaction for a batch of trials, where Optuna's interface takes several for each. Every transaction that writes
trials first locks the study's row, so the claims and results of all workers come one after another.
"""

import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from mlp_jax.errors import UserError

if TYPE_CHECKING:
    from sqlalchemy import BindParameter, ColumnElement, Connection, Engine

T = TypeVar("T")
STATES = {"finished": "COMPLETE", "diverged": "COMPLETE", "pruned": "PRUNED"}
PAUSES = (0.1, 0.5, 2.0, 5.0, 10.0)  # seconds before a transaction is tried again that the network broke
# By the database's clock, so that those of the machines need not agree.
NOW = {"sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')", "postgresql": "timezone('utc', clock_timestamp())"}
AGO = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || :seconds || ' seconds')",
    "postgresql": "timezone('utc', clock_timestamp()) - make_interval(secs => :seconds)",
}


@dataclass(frozen=True)
class Row:
    """A trial as it is stored; `value` and `at_brackets` are there once it has ended."""

    id: int
    number: int
    params: dict[str, Any]
    attributes: dict[str, Any]  # batch, name, worker; once it has ended also status, result, perhaps test/accuracy
    value: float | None = None
    at_brackets: dict[int, float] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """running, finished, pruned or diverged."""
        return str(self.attributes.get("status", "running"))

    def seal(self) -> str:
        """A checksum of everything but who works on it: a file with a flipped bit must not give other numbers."""
        what = {key: value for key, value in self.attributes.items() if key not in ("worker", "seal")}
        content = [self.number, self.params, what, self.value, self.at_brackets]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


class Storage:
    """One worker's view of one study."""

    def __init__(self, engine: "Engine", shown: str, study_id: int, worker: str, distributions: dict[str, Any]) -> None:
        """`worker` '' is the study's only one: no heartbeats, and every running trial is its own."""
        from optuna.storages._rdb.models import BaseModel

        self.engine = engine
        self.shown = shown  # what a message calls the storage
        self.study_id = study_id
        self.worker = worker
        self.distributions = distributions  # name -> Optuna's distribution, in the order of a trial's parameters
        self.tables = BaseModel.metadata.tables
        self.held: dict[int, int] = {}  # id -> number of the trials that this process works on
        self._rows: dict[int, Row] = {}
        self._read_from = 0  # every trial with a smaller id has ended and is in _rows
        self._stop = threading.Event()
        self._beating: threading.Thread | None = None

    def join(self, search: dict[str, Any]) -> int:
        """This worker's place among the study's workers; refuses a study of another search."""
        from sqlalchemy import insert, select

        table = self.tables["study_user_attributes"]

        def work(connection: "Connection") -> int:
            stored = select(table.c.key, table.c.value_json).where(table.c.study_id == self.study_id)
            attributes = {key: json.loads(text) for key, text in connection.execute(stored)}
            changed = [key for key in search if attributes.setdefault("search", search).get(key) != search[key]]
            if changed:
                raise UserError(
                    f"storage: {self.shown} holds a sweep with another {', '.join(changed)}; "
                    "allowed: that sweep, another --workdir, or in a shared database another sweep.name"
                )
            workers = attributes.get("workers", [])
            attributes["workers"] = workers if self.worker in workers else [*workers, self.worker]
            rows = [{"study_id": self.study_id, "key": k, "value_json": json.dumps(v)} for k, v in attributes.items()]
            connection.execute(table.delete().where(table.c.study_id == self.study_id))
            connection.execute(insert(table), rows)
            return list(attributes["workers"]).index(self.worker)

        try:
            return self.write(work)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self.damaged(first_line(error)) from None

    def claim(
        self,
        count: int,
        propose: Callable[[int, int], Sequence[dict[str, Any]]],
        name: Callable[[int, dict[str, Any]], str],
    ) -> list[Row]:
        """Enters new trials as running, with what propose(first number, count) gives, at once or not at all."""
        from optuna.distributions import distribution_to_json
        from sqlalchemy import insert, select, text

        trials = self.tables["trials"]

        def work(connection: "Connection") -> list[Row]:
            latest = (
                select(trials.c.number).where(trials.c.study_id == self.study_id).order_by(trials.c.trial_id.desc())
            )
            last = connection.execute(latest.limit(1)).scalar()
            first = 0 if last is None else last + 1
            proposed = dict(enumerate(propose(first, count), first))
            if not proposed:
                return []
            entry = {"study_id": self.study_id, "state": "RUNNING", "datetime_start": _utc()}
            enter = insert(trials).returning(trials.c.trial_id, sort_by_parameter_order=True)
            ids = connection.execute(enter, [entry | {"number": number} for number in proposed]).scalars().all()
            owner = {"worker": self.worker} if self.worker else {}
            rows = [
                Row(trial_id, number, params, {"batch": first, "name": name(number, params)} | owner)
                for trial_id, (number, params) in zip(ids, proposed.items(), strict=True)
            ]
            kinds = {key: distribution_to_json(kind) for key, kind in self.distributions.items()}
            values = [
                {
                    "trial_id": row.id,
                    "param_name": key,
                    "param_value": self.distributions[key].to_internal_repr(value),
                    "distribution_json": kinds[key],
                }
                for row in rows
                for key, value in row.params.items()
            ]
            if values:
                connection.execute(insert(self.tables["trial_params"]), values)
            self._add_attributes(connection, rows, lambda row: row.attributes | {"seal": row.seal()})
            if self.worker:
                beat = f"INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (:id, {NOW[self.engine.name]})"
                connection.execute(text(beat), [{"id": row.id} for row in rows])
            return rows

        return self._hold(self.write(work))

    def take_over(self, count: int, silent_seconds: float) -> list[Row]:
        """Makes this worker's up to `count` running trials of workers that have been silent for so long."""
        from sqlalchemy import bindparam, text

        stale = (
            "SELECT trials.trial_id FROM trials JOIN trial_heartbeats USING (trial_id) WHERE study_id = :study "
            f"AND state = 'RUNNING' AND heartbeat < {AGO[self.engine.name]} ORDER BY trials.trial_id"
        )

        def look(connection: "Connection") -> list[int]:
            found = connection.execute(text(stale), {"study": self.study_id, "seconds": silent_seconds}).scalars()
            return [trial_id for trial_id in found if trial_id not in self.held][:count]

        def work(connection: "Connection") -> list[int]:
            ids = look(connection)
            these: BindParameter[Any] = bindparam("ids", ids, expanding=True)
            for change in (
                "UPDATE trial_user_attributes SET value_json = :me WHERE key = 'worker' AND trial_id IN :ids",
                f"UPDATE trial_heartbeats SET heartbeat = {NOW[self.engine.name]} WHERE trial_id IN :ids",
            ):
                values = {"me": json.dumps(self.worker)} if ":me" in change else {}
                connection.execute(text(change).bindparams(these), values)
            return ids

        # A look takes no lock; what it finds another worker may have taken by the time that this one has the lock.
        ids = self.write(work) if self.read(look) else []
        return self._hold(self._read(self.tables["trials"].c.trial_id.in_(ids))) if ids else []

    def left_over(self) -> list[Row]:
        """The running trials that an earlier life of this worker began."""
        from sqlalchemy import select

        trials, attributes = self.tables["trials"], self.tables["trial_user_attributes"]
        running = trials.c.state == "RUNNING"
        if self.worker:
            mine = (attributes.c.key == "worker") & (attributes.c.value_json == json.dumps(self.worker))
            running &= trials.c.trial_id.in_(select(attributes.c.trial_id).where(mine))
        return self._hold(self._read(running))

    def finish(self, ended: Sequence[Row]) -> list[Row]:
        """Writes trials that have ended; gives back those that came too late, another worker having taken them over."""
        return [row for start in range(0, len(ended), 1000) for row in self._finish(ended[start : start + 1000])]

    def _finish(self, ended: Sequence[Row]) -> list[Row]:
        from sqlalchemy import bindparam, insert, select, update

        trials, attributes, values = (self.tables[name] for name in ("trials", "trial_user_attributes", "trial_values"))
        ids = [row.id for row in ended]

        def work(connection: "Connection") -> list[Row]:
            found = select(trials.c.trial_id).where(trials.c.trial_id.in_(ids), trials.c.state == "RUNNING")
            running = set(connection.execute(found).scalars())
            known = select(attributes.c.trial_id, attributes.c.key, attributes.c.value_json)
            known = known.where(attributes.c.trial_id.in_(ids), attributes.c.key.in_(("worker", "seal")))
            stored = {(trial_id, key): json.loads(text) for trial_id, key, text in connection.execute(known)}
            mine = [r for r in ended if r.id in running and stored.get((r.id, "worker"), "") == self.worker]
            if mine:
                change = update(trials).where(trials.c.trial_id == bindparam("id"))
                change = change.values(state=bindparam("to"), datetime_complete=_utc())
                connection.execute(change, [{"id": row.id, "to": STATES[row.status]} for row in mine])
                figures = [{"trial_id": r.id, "objective": 0, "value": r.value, "value_type": "FINITE"} for r in mine]
                connection.execute(insert(values), figures)
                marks = [
                    {
                        "trial_id": row.id,
                        "step": epoch,
                        "intermediate_value": value,
                        "intermediate_value_type": "FINITE",
                    }
                    for row in mine
                    for epoch, value in row.at_brackets.items()
                ]
                if marks:
                    connection.execute(insert(self.tables["trial_intermediate_values"]), marks)
                old = attributes.delete().where(attributes.c.trial_id.in_([row.id for row in mine]))
                connection.execute(old)
                self._add_attributes(connection, mine, lambda row: row.attributes | {"seal": row.seal()})
                beats = self.tables["trial_heartbeats"]
                connection.execute(beats.delete().where(beats.c.trial_id.in_([row.id for row in mine])))
            # A transaction tried again may find that it had got through.
            return [row for row in ended if row not in mine and stored.get((row.id, "seal")) != row.seal()]

        late = self.write(work)
        for row in ended:
            self.held.pop(row.id, None)
        return late

    def rows(self) -> list[Row]:
        """Every trial, by number; reads what has changed since the last call."""
        trials = self.tables["trials"]
        fresh = self._read(trials.c.trial_id >= self._read_from)
        self._rows |= {row.number: row for row in fresh}
        running = [row.id for row in fresh if row.status == "running"]
        self._read_from = min(running) if running else max([row.id + 1 for row in fresh], default=self._read_from)
        rows = [self._rows[number] for number in sorted(self._rows)]
        if rows and rows[-1].number != len(rows) - 1:
            raise self.damaged(f"{len(rows)} trials are numbered up to {rows[-1].number}")
        return rows

    def running(self) -> int:
        """The number of trials that some worker has claimed and not finished."""
        from sqlalchemy import func, select

        trials = self.tables["trials"]
        count = select(func.count()).where(trials.c.study_id == self.study_id, trials.c.state == "RUNNING")
        return int(self.read(lambda connection: connection.execute(count).scalar_one()))

    def beat(self, seconds: float) -> None:
        """From now on a thread tells the study every so often that this worker's trials are alive."""

        def keep_beating() -> None:
            from sqlalchemy.exc import SQLAlchemyError

            while not self._stop.wait(seconds):
                try:
                    self.beat_once()
                except SQLAlchemyError:  # the next beat may get through, and three may be missed
                    continue

        if self.worker and not self._beating:
            self._beating = threading.Thread(target=keep_beating, name="heartbeat", daemon=True)
            self._beating.start()

    def beat_once(self) -> None:
        """Tells that the held trials are alive, those excepted that another worker has taken over."""
        from sqlalchemy import bindparam, text

        ids: BindParameter[Any] = bindparam("ids", list(self.held), expanding=True)
        beat = (
            f"UPDATE trial_heartbeats SET heartbeat = {NOW[self.engine.name]} WHERE trial_id IN (SELECT trial_id "
            "FROM trial_user_attributes WHERE key = 'worker' AND value_json = :me AND trial_id IN :ids)"
        )
        with self.engine.begin() as connection:
            connection.execute(text(beat).bindparams(ids), {"me": json.dumps(self.worker)})

    def close(self) -> None:
        """Stops the heart and lets go of the database."""
        self._stop.set()
        if self._beating:
            self._beating.join()
        self.engine.dispose()

    def write(self, work: Callable[["Connection"], T]) -> T:
        """Runs `work` in a transaction that no other worker's overlaps."""
        from sqlalchemy import update

        # An update locks the row in PostgreSQL, and in SQLite the file before anything is read.
        studies = self.tables["studies"]
        lock = update(studies).where(studies.c.study_id == self.study_id).values(study_name=studies.c.study_name)

        def locked(connection: "Connection") -> T:
            connection.execute(lock)
            return work(connection)

        return self.read(locked)

    def read(self, work: Callable[["Connection"], T]) -> T:
        """Runs `work` in a transaction, again where the connection broke; a database that stays away is a UserError."""
        from sqlalchemy.exc import OperationalError, SQLAlchemyError

        for pause in (*(PAUSES if self.engine.name == "postgresql" else ()), None):
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except OperationalError as error:
                if pause is None:
                    raise UserError(f"storage: {self.shown}: {first_line(error)}") from None
                time.sleep(pause * (1 + random.random()))
            except SQLAlchemyError as error:
                raise UserError(f"storage: {self.shown}: {first_line(error)}") from None
        raise AssertionError("the last pause is None")

    def damaged(self, what: str) -> UserError:
        """The error for a study whose rows contradict each other."""
        return UserError(f"storage: {self.shown} is damaged: {what}; remove it to start over, or restore a copy")

    def _read(self, where: "ColumnElement[bool]") -> list[Row]:
        from sqlalchemy import select

        trials = self.tables["trials"]
        where = where & (trials.c.study_id == self.study_id)

        def children(connection: "Connection", name: str, *columns: str) -> dict[int, dict[Any, Any]]:
            table = self.tables[name]
            wanted = select(table.c.trial_id, *(table.c[column] for column in columns)).join(trials).where(where)
            found: dict[int, dict[Any, Any]] = {}
            for trial_id, key, value in connection.execute(wanted):
                found.setdefault(trial_id, {})[key] = value
            return found

        def work(connection: "Connection") -> list[Row]:
            wanted = select(trials.c.trial_id, trials.c.number, trials.c.state).where(where).order_by(trials.c.trial_id)
            found = connection.execute(wanted).all()
            params = children(connection, "trial_params", "param_name", "param_value")
            attributes = children(connection, "trial_user_attributes", "key", "value_json")
            values = children(connection, "trial_values", "objective", "value")
            marks = children(connection, "trial_intermediate_values", "step", "intermediate_value")
            return [
                self._row(i, number, state.name, *(child.get(i, {}) for child in (params, attributes, values, marks)))
                for i, number, state in found
            ]

        try:
            return self.read(work)
        except (ValueError, LookupError, TypeError) as error:
            raise self.damaged(first_line(error)) from None

    def _row(
        self,
        trial_id: int,
        number: int,
        state: str,
        params: dict[str, float],
        attributes: dict[str, str],
        values: dict[int, float],
        marks: dict[int, float],
    ) -> Row:
        stored = {key: json.loads(text) for key, text in attributes.items()}
        given = {key: kind.to_external_repr(params[key]) for key, kind in self.distributions.items()}
        row = Row(trial_id, number, given, stored, values.get(0), marks)
        if row.attributes.get("seal") != row.seal() or STATES.get(row.status, "RUNNING") != state:
            raise self.damaged(f"trial {number} does not fit its checksum")
        return row

    def _hold(self, rows: list[Row]) -> list[Row]:
        self.held |= {row.id: row.number for row in rows}
        return rows

    def _add_attributes(
        self, connection: "Connection", rows: Sequence[Row], attributes: Callable[[Row], dict[str, Any]]
    ) -> None:
        from sqlalchemy import insert

        entries = [
            {"trial_id": row.id, "key": key, "value_json": json.dumps(value)}
            for row in rows
            for key, value in attributes(row).items()
        ]
        connection.execute(insert(self.tables["trial_user_attributes"]), entries)


def first_line(error: Exception) -> str:
    """What a database says is wrong, without SQLAlchemy's lines about the statement."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]


def _utc() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
