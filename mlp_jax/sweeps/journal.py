"""Where a study is kept: a journal, which is a file of our own form, or a database of Optuna's, SQLite or PostgreSQL.

Optuna takes a while to import, so this module is imported where a study is opened and not before.
"""

import json
import os
import random
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import optuna
from filelock import FileLock
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError

from mlp_jax.errors import UserError, import_extra, not_one_of, redact
from mlp_jax.files.workdir import read_bytes, reason, write_bytes

FILE = "study.journal"
FILES = ("journal", "sqlite")
POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
CONNECT_SECONDS = 5
BUSY_SECONDS = 60  # how long a worker waits for its turn at a file of SQLite
PAUSES = (0.1, 0.3, 1.0, 3.0, 9.0)  # seconds before another attempt at a database that is busy or away
T = TypeVar("T")


class Journal(BaseJournalBackend):
    """A file with one entry a line, a JSON object whose last key `sum` is the CRC-32 of the rest.

    Optuna's own file backend and optuna-dashboard read it too. A killed writer may leave part of a line at the end: it
    counts as nothing, and the next writer cuts it off. The lock is the kernel's, so a kill lets go of it.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.path = path
        self.shown = shown  # what a message calls the file
        self._lock = FileLock(f"{path}.lock", poll_interval=0.005)
        self._starts = [0]  # entry -> the byte where it begins, up to the first one that has not been read
        path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """The entries from this number on; UserError for a line that does not fit its sum."""
        with self._lock, open(self.path, "rb") as file:
            file.seek(self._starts[log_number_from])
            lines = file.read().split(b"\n")[:-1]
        del self._starts[log_number_from + 1 :]
        for line in lines:
            if line != _with_sum(line[:-18] + b"}"):
                raise UserError(
                    f"storage: {self.shown} is damaged: line {len(self._starts)} does not fit its checksum; "
                    "remove it to start over, or restore a copy"
                )
            self._starts.append(self._starts[-1] + len(line) + 1)
            yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds entries; once it returns they are on the disk."""
        lines = [_with_sum(json.dumps(log, separators=(",", ":")).encode()) + b"\n" for log in logs]
        with self._lock, open(self.path, "r+b") as file:
            file.seek(self._starts[-1])
            end = self._starts[-1] + file.read().rfind(b"\n") + 1
            file.truncate(end)
            file.seek(end)
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())


def _with_sum(entry: bytes) -> bytes:
    """{"op_code":4} as {"op_code":4,"sum":"2e9b5f77"}."""
    return entry[:-1] + b',"sum":"%08x"}' % zlib.crc32(entry)


class Storage:
    """A storage of Optuna's, and what a message calls it."""

    def __init__(self, make: Callable[[], BaseStorage], shown: str) -> None:
        self.shown = shown
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = self.attempt(make)

    def entries(self, name: str, goal: str) -> "Entries":
        """The list of this name, made if it is not there."""

        def find() -> optuna.Study:
            if name in optuna.get_all_study_names(self._storage):
                return optuna.load_study(study_name=name, storage=self._storage)
            direction = optuna.study.StudyDirection[goal.upper()]
            return optuna.create_study(storage=self._storage, study_name=name, direction=direction, load_if_exists=True)

        return Entries(self.attempt(find))

    def attempt(self, work: Callable[[], T]) -> T:
        """What `work` gives, tried again where a database is busy or away; UserError where it stays so or is damaged.

        Workers that open an empty database at once get in each other's way, and one of them has to try again.
        """
        for pause in (*PAUSES, None):
            try:
                return work()
            except UserError:
                raise
            except OSError as error:
                raise UserError(f"storage: {self.shown}: {reason(error)}") from None
            except (SQLAlchemyError, OptunaError) as error:
                cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
                if pause is None or type(cause) is DatabaseError:  # no subclass of it: the file is none of SQLite's
                    raise UserError(f"storage: {self.shown}: {_first_line(cause)}") from None
                time.sleep(pause * (0.5 + random.random()))
            except (RuntimeError, ValueError, LookupError, TypeError, AssertionError) as error:
                raise UserError(f"storage: {self.shown} cannot be read: {_first_line(error)}") from None
        raise AssertionError("the last pause is None")

    def close(self) -> None:
        """Lets go of the connection; another is made where it is needed. Most servers bear a hundred at a time."""
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()


class Entries:
    """One of Optuna's studies as a list that only grows: each entry is a trial that has ended, written once."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._read = 0

    def settle(self, key: str, value: dict[str, Any]) -> dict[str, Any]:
        """The value of the list's own attribute, this one where it had none."""
        if key not in self._study.user_attrs:
            self._study.set_user_attr(key, value)
        return dict(self._study.user_attrs[key])

    def add(self, entry: FrozenTrial) -> None:
        """Adds a trial."""
        self._study.add_trial(entry)

    def note(self, attributes: dict[str, Any]) -> None:
        """Adds attributes alone."""
        self.add(create_trial(state=TrialState.FAIL, user_attrs=attributes))  # the state of an end without a value

    def new(self) -> list[FrozenTrial]:
        """What has come since the last call."""
        entries = self._study.get_trials(deepcopy=False)
        new, self._read = entries[self._read :], len(entries)
        return new


def open_storage(url: str, workdir: Path) -> Storage:
    """The storage that `url` names; for '' study.journal in the workdir."""
    if not url:
        path = workdir / FILE
        if (workdir / "study.db").exists() and not path.exists():
            raise UserError(
                f"storage: {workdir / 'study.db'} is of an older version, whose sweeps this one cannot go on with; "
                "give another --workdir, or remove it to start over"
            )
        return Storage(lambda: JournalStorage(Journal(path.absolute(), str(path))), str(path))
    shown, where = redact(url), check_url(url)
    if isinstance(where, Path):
        return Storage(lambda: JournalStorage(Journal(where, shown)), shown)
    # Optuna fills in {fields}.
    text = where.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    return Storage(lambda: RDBStorage(text, engine_kwargs=_engine_options(where)), shown)


def check_url(url: str) -> Path | URL:
    """The journal or the database that a URL names; UserError where there is none that can be reached."""
    shown, scheme = redact(url), url.split(":", 1)[0]
    if scheme not in (*FILES, *POSTGRESQL):
        raise not_one_of("storage", scheme, (*FILES, "postgresql", f"'' for {FILE} in the workdir"))
    try:
        where = make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(f"storage: {shown} is not a URL such as postgresql://user@host:5432/database") from None
    if scheme in FILES:
        path = Path(where.database or "")
        if where.host or where.database in (None, "", ":memory:"):
            raise UserError(f"storage: {shown} names no file, as {scheme}:///study.{scheme} does")
        if not path.parent.is_dir():
            raise UserError(f"storage: {shown} cannot be opened: there is no folder {path.parent}")
        return path.absolute() if scheme == "journal" else where
    where = where.set(drivername="postgresql+psycopg")
    import_extra("psycopg", f"storage: {shown}", "postgresql")
    try:
        engine = create_engine(where, **_engine_options(where))
        engine.connect().close()
        engine.dispose()
    except SQLAlchemyError as error:
        raise UserError(f"storage: {shown} cannot be reached: {_first_line(error)}") from None
    return where


def _engine_options(where: URL) -> dict[str, Any]:
    seconds = {"timeout": BUSY_SECONDS} if where.drivername == "sqlite" else {"connect_timeout": CONNECT_SECONDS}
    return {"pool_size": 1, "connect_args": seconds}


def _first_line(error: Exception) -> str:
    """What is wrong in a database's own words, without SQLAlchemy's lines about the statement."""
    cause = getattr(error, "orig", None) or error
    return str(redact((str(cause).strip() or type(cause).__name__).splitlines()[0]))


def worker_name(workdir: Path) -> str:
    """This worker's name in a shared study, kept in its workdir: started again, it goes on with its own batch."""
    path = workdir / "worker"
    try:
        if not path.exists():
            write_bytes(path, uuid.uuid4().hex.encode())
        return read_bytes(path)[:100].decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--workdir: {path} cannot be kept: {error}") from None
