"""Checkpoints: Orbax writes the arrays, a manifest of SHA-256 sums says whether they can be believed.

    FOLDER/<step>/arrays/         Orbax: one vector a dtype, all leaves of that dtype end to end; of several processes
                                  one array a leaf, of which each process writes the parts that lie on its devices
    FOLDER/<step>/extra.json      what the caller wants back beside the arrays
    FOLDER/<step>/manifest.json   written last: step, fingerprints, leaves, size and SHA-256 of every file, its own sum

One vector a dtype because Orbax pays for each array: the 33 leaves of an Adam state with its best parameters took three
times as long one by one. Only `_write_arrays` and `_read_arrays` know how.
"""

import errno
import hashlib
import logging
import math
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mlp_jax.errors import UserError
from mlp_jax.files import workdir

FORMAT = 1
MAX_MANIFEST_BYTES = 1 << 24
SMALL_FILES_BYTES = 1 << 18  # room for what is not an array
_OTHERWISE = "; --config.resume=never starts over"


class Restored(NamedTuple):
    """A checkpoint read back: the leaves of `state` are NumPy arrays, for the caller to place on devices."""

    step: int
    state: Any
    extra: dict[str, Any]


class _Damaged(Exception):
    """Why a checkpoint cannot be believed."""


def save(
    folder: Path, step: int, state: Any, extra: dict[str, Any], fingerprints: dict[str, str], keep: int = 2
) -> None:
    """Writes FOLDER/<step>, complete or not at all, and keeps the `keep` newest up to `step`.

    `state` is any pytree of arrays, `extra` becomes JSON. Checkpoints of later steps go too: the run came here without
    them. UserError where the disk is full or refuses; the earlier checkpoints are then as they were.
    Several processes call it together, with arrays that lie on all their devices; the first seals what all wrote.
    """
    final, temporary = folder / str(step), folder / f"{step}.new.tmp"
    first = jax.process_index() == 0
    try:
        if first:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(folder)
            (temporary / "arrays").mkdir(parents=True)
        _write_arrays(temporary / "arrays", state)
        if first:
            (temporary / "extra.json").write_text(workdir.dumps(extra))
            _seal(temporary, step, state, fingerprints)
            if os.path.lexists(final):  # a damaged one, or the same again
                _remove(final)
            os.rename(temporary, final)
            workdir.sync(folder)
            steps = _steps(folder)
            kept = [number for number in steps if number <= step][:keep]
            for other in steps:
                if other not in kept:
                    _remove(folder / str(other))
    except OSError as error:
        raise UserError(f"{final}: the checkpoint cannot be written: {workdir.reason(error)}") from error
    finally:
        if first:
            shutil.rmtree(temporary, ignore_errors=True)


def restore(
    folder: Path, template: Any, fingerprints: dict[str, str], warn: Callable[[str], None] | None = None
) -> Restored | None:
    """Reads the newest checkpoint that is whole, or None; each damaged one is named to `warn` (a line on stderr).

    `template` has the structure, shapes and dtypes of the state (`jax.eval_shape` will do). Of the fingerprints only
    those given here are compared. A checkpoint that is whole but of other fingerprints, shapes or dtypes is no damage:
    UserError, since starting over would throw away what another config made. Nothing in the folder is executed.
    """
    warn = warn or (lambda line: print(line, file=sys.stderr))
    for step in _steps(folder):
        try:
            manifest, extra = _verify(folder / str(step), step)
            _compare(folder / str(step), manifest, template, fingerprints)
            return Restored(step, _read_arrays(folder / str(step) / "arrays", template), extra)
        except _Damaged as damage:
            warn(f"{folder / str(step)}: damaged checkpoint not used: {damage}")
    return None


def newest_is_whole(folder: Path) -> bool:
    """Whether there is a checkpoint and every byte of the newest one is as it was written."""
    steps = _steps(folder)
    try:
        return bool(steps) and bool(_verify(folder / str(steps[0]), steps[0]))
    except _Damaged:
        return False


def _seal(folder: Path, step: int, state: Any, fingerprints: dict[str, str]) -> None:
    """Writes the manifest that vouches for what is there, and brings everything to the disk."""
    body = {
        "format": FORMAT,
        "step": step,
        "fingerprints": fingerprints,
        "leaves": _leaves(state),
        "files": {name: {"size": size, "sha256": _digest(folder / name)} for name, size in _sizes(folder).items()},
    }
    (folder / "manifest.json").write_text(workdir.dumps(body | {"sha256": _sum_of(body)}, indent=2) + "\n")
    for path in [*folder.rglob("*"), folder]:
        workdir.sync(path)


def _verify(path: Path, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The manifest and the extra of a checkpoint whose every byte is as it was written."""
    try:
        sizes = _sizes(path)
        if sizes.pop("manifest.json", math.inf) > MAX_MANIFEST_BYTES:
            raise _Damaged("manifest.json is missing or too large")
        manifest = _read(path / "manifest.json")
        if manifest.pop("sha256", None) != _sum_of(manifest):
            raise _Damaged("manifest.json differs from its own sum")
        if manifest.get("format") != FORMAT:
            raise UserError(f"{path}: has format {manifest.get('format')!r}, this version reads {FORMAT}{_OTHERWISE}")
        if manifest.get("step") != step:
            raise _Damaged(f"manifest.json is of step {manifest.get('step')!r}")
        _verify_files(path, sizes, manifest.get("files"))
        return manifest, _read(path / "extra.json")
    except OSError as error:
        raise _Damaged(f"cannot be read: {workdir.reason(error)}") from error


def _verify_files(path: Path, sizes: dict[str, int], listed: Any) -> None:
    if not isinstance(listed, dict):
        raise _Damaged("manifest.json lists no files")
    if missing := listed.keys() - sizes.keys():
        raise _Damaged(f"{min(missing)!r} is missing")
    if unknown := sizes.keys() - listed.keys():
        raise _Damaged(f"{min(unknown)!r} does not belong to it")
    for name, size in sizes.items():
        entry = listed[name] if isinstance(listed[name], dict) else {}
        if entry.get("size") != size or entry.get("sha256") != _digest(path / name):
            raise _Damaged(f"{name!r} differs from its sum")


def _compare(path: Path, manifest: dict[str, Any], template: Any, fingerprints: dict[str, str]) -> None:
    """UserError where a checkpoint, whole as it is, was written by another run."""
    written = manifest.get("fingerprints")
    for name, value in fingerprints.items():
        if not isinstance(written, dict) or written.get(name) != value:
            raise UserError(f"{path}: was written with another {name}{_OTHERWISE}")
    theirs, ours = manifest.get("leaves"), _leaves(template)
    if theirs != ours:
        pairs = zip_longest(theirs if isinstance(theirs, list) else [], ours)
        its, needed = next((pair for pair in pairs if pair[0] != pair[1]), (None, None))
        raise UserError(f"{path}: holds {its or 'nothing'} where {needed or 'nothing'} is needed{_OTHERWISE}")


def _sizes(folder: Path, prefix: str = "") -> dict[str, int]:
    """Bytes of every file below a folder, by path; a link, a pipe or a device is refused without being opened."""
    if not stat.S_ISDIR(folder.lstat().st_mode):
        raise _Damaged("it is not a folder")
    sizes: dict[str, int] = {}
    for path in sorted(folder.iterdir()):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            sizes |= _sizes(path, f"{prefix}{path.name}/")
        elif stat.S_ISREG(found.st_mode):
            sizes[f"{prefix}{path.name}"] = found.st_size
        else:
            raise _Damaged(f"'{prefix}{path.name}' is neither a file nor a folder")
    return sizes


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, Any]:
    try:
        value = workdir.loads(path.read_bytes())
    except ValueError:
        raise _Damaged(f"{path.name} is not JSON") from None
    if not isinstance(value, dict):
        raise _Damaged(f"{path.name} is not a JSON object")
    return value


def _sum_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(workdir.dumps(body).encode()).hexdigest()


def _leaves(tree: Any) -> list[str]:
    """A line a leaf, such as '.params[0].w float32 (784, 128)'."""
    return [
        f"{jax.tree_util.keystr(path)} {_dtype(leaf)} {tuple(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _write_arrays(folder: Path, state: Any) -> None:
    """One vector a dtype, or one array a leaf of several processes; OSError where the disk refuses."""
    import orbax.checkpoint as ocp
    from etils import epath

    arrays = _vectors(state) if jax.process_count() == 1 else dict(_named(jax.tree.leaves(state)))
    _refuse_full_disk(folder, sum(array.nbytes for array in arrays.values()))
    try:
        with _quiet():
            ocp.PyTreeCheckpointHandler(use_ocdbt=False).save(epath.Path(folder), args=ocp.args.PyTreeSave(arrays))
    except ValueError as error:  # TensorStore's form of an OSError
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def _named(leaves: list[Any]) -> list[tuple[str, Any]]:
    """The leaves that have elements, under their numbers in the tree; Orbax refuses an array without."""
    return [(name, leaf) for name, leaf in _numbered(leaves) if leaf.size]


def _numbered(leaves: list[Any]) -> list[tuple[str, Any]]:
    return [(f"{number:06d}", leaf) for number, leaf in enumerate(leaves)]


def _vectors(state: Any) -> dict[str, np.ndarray]:
    groups: dict[str, list[np.ndarray]] = {}
    for leaf in jax.tree.leaves(state):
        if leaf.size:  # Orbax refuses an array without elements
            groups.setdefault(_dtype(leaf), []).append(np.ravel(np.asarray(leaf)))
    return {dtype: np.concatenate(parts) for dtype, parts in groups.items()}


def _read_arrays(folder: Path, template: Any) -> Any:
    """The tree of `template` with the values that `_write_arrays` was given.

    By TensorStore, on which Orbax stands, one array after the other. Orbax reads all at once, and where one of them
    cannot be read, the others' threads print tracebacks that nobody can catch.
    """
    import tensorstore

    leaves, structure = jax.tree.flatten(template)
    sizes: dict[str, int] = {}
    for leaf in leaves:
        sizes[_dtype(leaf)] = sizes.get(_dtype(leaf), 0) + leaf.size
    vectors = {dtype: (np.dtype(dtype), (size,)) for dtype, size in sizes.items() if size}
    named = {name: (np.dtype(_dtype(leaf)), tuple(leaf.shape)) for name, leaf in _named(leaves)}
    try:
        stores = {}
        for path in sorted(path for path in folder.iterdir() if path.is_dir()):
            spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path.resolve())}}
            stores[path.name] = tensorstore.open(spec, open=True).result()
        found = {name: (store.dtype.numpy_dtype, tuple(store.shape)) for name, store in stores.items()}
        if found not in (vectors, named):  # before memory is given to them
            raise _Damaged("the arrays are not the ones that manifest.json lists")
        arrays = {name: store.read().result() for name, store in stores.items()}
    except (ValueError, OSError) as error:
        raise _Damaged(f"the arrays cannot be read: {str(error).splitlines()[0][:200]}") from error
    if found == named:
        values = [arrays.get(name, np.zeros(leaf.shape, leaf.dtype)) for name, leaf in _numbered(leaves)]
    else:
        values = _cut(leaves, {dtype: arrays.get(dtype, np.zeros(0, dtype)) for dtype in sizes})
    # Each in a buffer of its own, so that it can be donated.
    return jax.tree.unflatten(structure, [np.array(value) for value in values])


def _cut(leaves: list[Any], rest: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The leaves out of one vector a dtype."""
    values = []
    for leaf in leaves:
        part, rest[_dtype(leaf)] = np.split(rest[_dtype(leaf)], [leaf.size])
        values.append(part.reshape(leaf.shape))
    return values


def _dtype(leaf: Any) -> str:
    return np.dtype(leaf.dtype).name


def _refuse_full_disk(folder: Path, size: int) -> None:
    """Asks first: Orbax on a full disk prints tracebacks from its threads, which nobody can catch."""
    if shutil.disk_usage(folder).free < 1.01 * size + SMALL_FILES_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def _quiet() -> Iterator[None]:
    """Orbax logs every failure with its traceback before it raises it; the line that names it is ours."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, whole or not, newest first."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {workdir.reason(error)}") from error
    return sorted((int(name) for name in names if re.fullmatch("0|[1-9][0-9]{0,17}", name)), reverse=True)


def _remove(path: Path) -> None:
    """Takes a checkpoint out of the list at once, then deletes it: a crash leaves no half of one behind."""
    leftover = path.with_name(f"{path.name}.old.tmp")
    os.rename(path, leftover)
    _delete(leftover)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob("*.tmp"):
        _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
