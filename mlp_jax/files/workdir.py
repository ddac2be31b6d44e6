"""A run's folder: made, locked against a second process, and its files written whole or not at all."""

import errno
import fcntl
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlp_jax.errors import UserError

LARGEST = 2**30  # bytes of a file that is read whole


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

    It is flock(2) on the empty file `.lock`, which stays: were it removed, two processes could lock two files.
    """
    try:
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise UserError(f"workdir: {folder} cannot be written to: {reason(error)}") from error
    try:
        _flock(folder, descriptor)
        yield
    finally:
        os.close(descriptor)


def _flock(folder: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"workdir: {folder} is in use by another process; wait for it, or give another") from error
    except OSError as error:
        raise UserError(f"workdir: {folder} cannot be locked: {reason(error)}") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file in one step: after a crash or a power cut it has the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")  # one fixed name, so that a killed process leaves at most one
    try:
        with open(temporary, "wb", opener=_open_no_link) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync(path.parent)
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


def write_sealed(path: Path, fields: Mapping[str, Any]) -> None:
    """Writes a JSON object with its own sum as the last field."""
    write_bytes(path, (json.dumps({**fields, "sha256": _sum_of(fields)}, indent=2) + "\n").encode())


def read_sealed(path: Path) -> dict[str, Any]:
    """The fields without the sum."""
    fields = _object(read_json(path), path)
    found = fields.pop("sha256", None)
    if found is not None and found != _sum_of(fields):
        raise UserError(
            f"{path}: is damaged or was edited: it differs from its own sum; restore it, or remove its line "
            '"sha256" to take it as it is'
        )
    return fields


def _sum_of(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Brings a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON with sorted keys; a float that is not finite becomes null, a NumPy or JAX scalar its number."""
    return json.dumps(plain(value), indent=indent, sort_keys=True, allow_nan=False)


def loads(content: bytes) -> Any:
    """The value of strict JSON in UTF-8 (no NaN, no Infinity); ValueError for anything else."""
    try:
        return json.loads(content.decode(), parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_json(path: Path, value: Any) -> None:
    """Writes one JSON value, indented, in one step."""
    write_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """What `write_json` writes."""
    return (dumps(value, indent=2) + "\n").encode()


def read_json(path: Path) -> Any:
    """Reads one JSON value; UserError where the file is missing, unreadable, malformed or not what was sealed."""
    try:
        return loads(read_bytes(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise UserError(f"{path}: is damaged, not JSON: {error}") from error


def read_if_there(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    return _object(read_json(path), path) if path.exists() else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file with one a line; none where there is no such file."""
    try:
        content = read_bytes(path) if path.exists() else b""
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    rows = []
    for place, line in enumerate(content.splitlines(), 1):
        try:
            rows.append(_object(loads(line), path))
        except ValueError as error:
            raise UserError(f"{path}: line {place} is not JSON: {error}") from error
    return rows


def _object(value: Any, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds no JSON object")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, which every workdir has."""
    if not (folder / "config.json").exists():
        raise UserError(f"--workdir: {str(folder)!r} holds no run: it has no config.json")
    return read_sealed(folder / "config.json")


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes one JSON object a line, the whole file in one step."""
    write_bytes(path, jsonl_bytes(records))


def jsonl_bytes(records: Iterable[Mapping[str, Any]]) -> bytes:
    """What `write_jsonl` writes."""
    return "".join(dumps(record) + "\n" for record in records).encode()


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line. A crash may leave a part of it, which `write_jsonl` from the records mends on resume."""
    try:
        with open(path, "ab") as file:
            file.write((dumps(record) + "\n").encode())
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {reason(error)}") from error


def reason(error: OSError) -> str:
    """Why the system refused, in lower case and without the path: 'no space left on device'."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


def _open_no_wait(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)  # a planted link must not lead the writing out of the folder


def plain(value: Any) -> Any:
    """The value as JSON has it: tuples as lists, NumPy and JAX scalars as numbers, None for what is not finite."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
