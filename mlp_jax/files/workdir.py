"""A run's folder: made, locked against a second process, and its files written whole or not at all."""

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlp_jax.errors import UserError

LARGEST = 2**30  # bytes of a file that is read whole
SUM = "sha256"  # the last field of a sealed file


def create(folder: Path) -> None:
    """Makes the folder with its parents; UserError where a file is in the way or it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"workdir: {folder} cannot be made: a file is in the way") from error
    except OSError as error:
        raise UserError(f"workdir: {folder} cannot be made: {reason(error)}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"workdir: {folder} cannot be written to; give a folder of your own")


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; UserError where another one has it. Ends with the process, even a killed one.

    The empty file `.lock` stays: were it removed, two processes could lock two files.
    """
    held = FileLock(folder / ".lock", blocking=False)
    try:
        held.acquire()
    except Timeout as error:
        raise UserError(f"workdir: {folder} is in use by another process; wait for it, or give another") from error
    except OSError as error:
        raise UserError(f"workdir: {folder} cannot be locked: {reason(error)}") from error
    try:
        yield
    finally:
        held.release()


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file in one step: after a crash or a power cut it has the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")  # one fixed name, so that a killed process leaves at most one
    try:
        with open(temporary, "wb", opener=_open_no_link) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; OSError for a pipe, which would be waited for, a device, or more than 1 GiB."""
    with open(path, "rb", opener=_open_no_wait) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if found.st_size > LARGEST:
            raise OSError(errno.EFBIG, f"it is larger than {LARGEST} bytes", str(path))
        return file.read()


def _open_no_wait(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _open_no_link(path: str, flags: int) -> int:
    # A planted link must not lead the writing out of the folder.
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _sync_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk; Windows does that by itself, and opens no folder."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON with sorted keys; a float that is not finite becomes null, a NumPy or JAX scalar its number."""
    return json.dumps(plain(value), indent=indent, sort_keys=True, allow_nan=False)


def plain(value: Any) -> Any:
    """The value as JSON has it: tuples as lists, NumPy and JAX scalars as numbers, None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def loads(content: bytes) -> Any:
    """The value of strict JSON in UTF-8 (no NaN, no Infinity); ValueError for anything else."""
    try:
        return json.loads(content.decode(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def write_json(path: Path, value: Any) -> None:
    """Writes one JSON value, indented, in one step."""
    write_bytes(path, (dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """Reads one JSON value; UserError where the file is missing, unreadable or malformed."""
    content = _read(path)
    try:
        return loads(content)
    except ValueError as error:
        raise UserError(f"{path}: is damaged, not JSON: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error


def read_if_there(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    return _object(read_json(path), path) if path.exists() else {}


def _object(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no JSON object")
    return value


def write_sealed(path: Path, fields: Mapping[str, Any]) -> None:
    """Writes the fields of a JSON object in their order, and last of all their sum, which `read_sealed` compares."""
    content = json.dumps({**fields, SUM: _sum_of(fields)}, indent=2, allow_nan=False)
    write_bytes(path, (content + "\n").encode())


def read_sealed(path: Path) -> dict[str, Any]:
    """The fields of a JSON object without their sum; UserError where that differs. A file without one is believed."""
    fields = _object(read_json(path), path)
    if fields.pop(SUM, None) not in (None, _sum_of(fields)):
        raise UserError(
            f"{path}: is damaged or was edited: it differs from its own sum; "
            f'restore it, or remove its last field "{SUM}" to take it as it is'
        )
    return fields


def _sum_of(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, which every workdir has."""
    path = folder / "config.json"
    if not path.exists():
        raise UserError(f"--workdir: {str(folder)!r} holds no run: it has no config.json")
    return read_sealed(path)


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, the whole file in one step."""
    write_bytes(path, "".join(dumps(record) + "\n" for record in records).encode())


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line. A crash may leave a part of it, which `write_jsonl` from the records mends on resume."""
    try:
        with open(path, "ab") as file:
            file.write((dumps(record) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file with one a line; none where there is no such file."""
    rows = []
    for number, line in enumerate(_read(path).splitlines() if path.exists() else [], 1):
        try:
            row = loads(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number} is not JSON: {error}") from error
        rows.append(_object(row, path))
    return rows


def reason(error: Exception) -> str:
    """Why something was refused, in one line that begins small: 'no space left on device'."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line = str(text).splitlines()[0]
    return line[:1].lower() + line[1:]
