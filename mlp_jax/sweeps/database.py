"""Opens a study's database: a file of SQLite in the workdir, or what a URL names. Waits for none that is away."""

import os
import random
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlp_jax.errors import UserError, not_one_of, redact
from mlp_jax.files.workdir import read_bytes
from mlp_jax.sweeps.storage import Storage, first_line

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

FILE = "study.db"
CONNECT_SECONDS = 5
BUSY_SECONDS = 60  # how long a worker waits for its turn at a file of SQLite
POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")


def open_storage(url: str, workdir: Path, name: str, goal: str, distributions: dict[str, Any]) -> Storage:
    """The study `name` in a database, made if it is not there. `url` '': study.db in the workdir, for one worker alone.

    Shared are sqlite:///FILE, by the processes of one machine, and postgresql://…, by any number of machines.
    """
    from sqlalchemy import URL

    _make_folder(workdir)
    if not url:
        path = workdir.resolve() / FILE
        _prepare_file(path, str(workdir / FILE))
        engine, study_id = _open(URL.create("sqlite", database=str(path)), str(workdir / FILE), name, goal)
        return Storage(engine, str(workdir / FILE), study_id, "", distributions)
    shown = redact(url)
    where = _parse(url, shown)
    if where.get_backend_name() == "sqlite":
        _prepare_file(Path(where.database or ""), shown)
    else:
        _reach(where, shown)
    engine, study_id = _open(where, shown, name, goal)
    return Storage(engine, shown, study_id, _identity(workdir), distributions)


def check_url(url: str) -> None:
    """UserError for a URL that names no database of ours, or one that cannot be reached; nothing is written."""
    shown = redact(url)
    where = _parse(url, shown)
    if where.get_backend_name() != "sqlite":
        _reach(where, shown)


def _parse(url: str, shown: str) -> "URL":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    scheme = url.split(":", 1)[0]
    if scheme not in ("sqlite", *POSTGRESQL):
        raise not_one_of("storage", scheme, ("sqlite", "postgresql", "'' for study.db in the workdir"))
    try:
        where = make_url(url)
    except (ArgumentError, ValueError):
        raise UserError(f"storage: {shown} is not a URL such as postgresql://user@host:5432/database") from None
    if scheme == "sqlite" and where.database in (None, "", ":memory:"):
        raise UserError(f"storage: {shown} names no file, as sqlite:///study.db does")
    return where if scheme == "sqlite" else where.set(drivername="postgresql+psycopg")


def _make_folder(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir: {workdir} cannot be made: {error.strerror}") from None


def _prepare_file(path: Path, shown: str) -> None:
    """Sees that the file is whole and keeps a write-ahead log, whose entries have checksums and hold up no reader."""
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except (sqlite3.Error, UnicodeDecodeError) as error:  # damage may be such that SQLite cannot even tell it in UTF-8
        raise UserError(f"storage: {shown}: {first_line(error)}") from None
    if found != "ok":
        raise UserError(f"storage: {shown} is damaged: {found}; remove it to start over, or restore a copy")


def _engine_options(where: "URL") -> dict[str, Any]:
    """Connections that last for a transaction: thousands of idle ones are more than a PostgreSQL server bears."""
    from sqlalchemy.pool import NullPool

    if where.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_SECONDS}}
    return {"poolclass": NullPool, "connect_args": {"connect_timeout": CONNECT_SECONDS}}


def _reach(where: "URL", shown: str) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_engine(where, **_engine_options(where)).connect().close()
    except ImportError as error:
        raise UserError(f"storage: {shown} needs a driver ({error}): pip install 'psycopg[binary]'") from None
    except SQLAlchemyError as error:
        raise UserError(f"storage: {shown} cannot be reached: {redact(first_line(error))}") from None


def _open(where: "URL", shown: str, name: str, goal: str) -> tuple["Engine", int]:
    """Tables and study, made where there are none; again where workers that begin together got in each other's way."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = optuna.study.StudyDirection[goal.upper()]
    url = where.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")  # Optuna fills {fields} in
    for pause in (0.1, 0.3, 1.0, 3.0, 9.0, None):
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=_engine_options(where))
            optuna.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
            return storage.engine, storage.get_study_id_from_name(name)
        except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            if pause is None:
                cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
                raise UserError(f"storage: {shown}: {redact(first_line(cause))}") from None
            time.sleep(pause * (0.5 + random.random()))
        except (RuntimeError, ValueError, LookupError, AssertionError) as error:  # another Optuna's tables, or damage
            raise UserError(f"storage: {shown} cannot be read: {first_line(error)}") from None
    raise AssertionError("the last pause is None")


def _identity(workdir: Path) -> str:
    """The worker's name, kept in its workdir: started again, it takes up its own trials at once."""
    path, fresh = workdir / "worker", uuid.uuid4().hex
    try:
        if not path.exists():
            temporary = workdir / f"worker.{fresh}.tmp"
            temporary.write_text(fresh)
            os.replace(temporary, path)
        return read_bytes(path)[:100].decode()
    except (OSError, ValueError) as error:
        raise UserError(f"--workdir: {path} cannot be kept: {error}") from None
