"""Checkpoints: one file a step, which NumPy alone can read.

    FOLDER/<step>.npz      an uncompressed zip with a CRC-32 of every entry:
        checkpoint.json    step, fingerprints, the list of leaves, and what the caller wants back beside them
        <leaf>.npy         one array a leaf, named by its path

so that `np.load("runs/a/checkpoints/4220.npz")["best/params/0/w"]` is the first layer's weights of the best epoch. The
file takes its name in one step. One that is cut or has a flipped bit is refused before anything in it is believed.
"""

import io
import math
import re
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from tokenize import TokenError
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.lib import format as npy

from mlp_jax.errors import UserError
from mlp_jax.files.workdir import dumps, loads, reason, write_bytes

KEPT = 2  # checkpoints in a folder
ABOUT = "checkpoint.json"
_OTHERWISE = "; --config.resume=never starts over"
# What the system, zipfile, NumPy and json raise for a file that is not as `save` wrote it.
_DAMAGE = (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError, OverflowError, struct.error, TokenError)


class Restored(NamedTuple):
    """A checkpoint read back: the leaves of `state` are NumPy arrays, for the caller to place on devices."""

    step: int
    state: Any
    extra: dict[str, Any]


def save(folder: Path, step: int, state: Any, extra: dict[str, Any], fingerprints: dict[str, str]) -> None:
    """Writes FOLDER/<step>.npz, complete or not at all, and keeps the two newest up to `step`.

    `state` is any pytree of arrays, `extra` becomes JSON. Checkpoints of later steps go too: the run came here without
    them. UserError where the disk is full or refuses; the earlier checkpoints are then as they were.
    """
    file, final, leaves = io.BytesIO(), folder / f"{step}.npz", _leaves(state)
    about = {"step": step, "fingerprints": fingerprints, "leaves": list(leaves), "extra": extra}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(ABOUT), dumps(about))
        for line, leaf in leaves.items():
            with archive.open(zipfile.ZipInfo(line.rpartition(": ")[0] + ".npy"), "w", force_zip64=True) as entry:
                npy.write_array(entry, np.asarray(leaf, order="C"), allow_pickle=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.npz.tmp"):  # of a process that was killed
            leftover.unlink()
        write_bytes(final, file.getvalue())
        found = _found(folder)
        for number in found.keys() - [number for number in found if number <= step][:KEPT]:
            found[number].unlink()
    except OSError as error:
        raise UserError(f"{final}: cannot be written: {reason(error)}") from error


def restore(
    folder: Path, template: Any, fingerprints: dict[str, str], warn: Callable[[str], None] | None = None
) -> Restored | None:
    """Reads the newest checkpoint that is whole, or None; each damaged one is named to `warn` (a line on stderr).

    `template` has the structure, shapes and dtypes of the state (`jax.eval_shape` will do). Of the fingerprints only
    those given here are compared. A checkpoint that is whole but of other fingerprints, shapes or dtypes is no damage:
    UserError, since starting over would throw away what another config made.
    """
    warn = warn or (lambda line: print(line, file=sys.stderr))
    found = _found(folder)
    if not found and any(folder.glob("*/manifest.json")):
        raise UserError(f"{folder}: was written by an older version, in a form that is no longer read{_OTHERWISE}")
    for step, path in found.items():
        try:
            about, arrays = _read(path, step)
        except _DAMAGE as error:
            warn(f"{path}: damaged checkpoint not used: {reason(error)}")
            continue
        _compare(path, about, template, fingerprints)
        leaves = [npy.read_array(io.BytesIO(content), allow_pickle=False) for content in arrays]
        return Restored(step, jax.tree.unflatten(jax.tree.structure(template), leaves), about["extra"])
    return None


def newest_is_whole(folder: Path, step: int | None = None) -> bool:
    """Whether there is a checkpoint, every byte of the newest one as it was written, and `step`, if given, its step."""
    newest, path = next(iter(_found(folder).items()), (0, folder))  # a folder is not whole
    try:
        return bool(_read(path, newest if step is None else step))
    except _DAMAGE:
        return False


def _read(path: Path, step: int) -> tuple[dict[str, Any], list[bytes]]:
    """checkpoint.json and the .npy of each leaf. Whatever is not as `save` wrote it raises one of `_DAMAGE`.

    Sums are compared before anything is parsed, and nothing takes more memory than the file is long.
    """
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type for entry in entries) or sum(e.file_size for e in entries) > found.st_size:
            raise ValueError("its entries are not stored as they were written")
        contents = {entry.filename: archive.read(entry) for entry in entries}
    about = loads(contents.pop(ABOUT, b""))
    right = isinstance(about, dict) and about.get("step") == step
    if not right or not all(isinstance(about.get(part), dict) for part in ("fingerprints", "extra")):
        raise ValueError(f"{ABOUT} is not of step {step}")
    if about.get("leaves") != [f"{name.removesuffix('.npy')}: {_kind(array)}" for name, array in contents.items()]:
        raise ValueError(f"its arrays are not those that {ABOUT} lists")
    return about, list(contents.values())


def _kind(array: bytes) -> str:
    """Dtype and shape of a .npy file; ValueError where the numbers are more or fewer than its header says."""
    file = io.BytesIO(array)
    if npy.read_magic(file) != (1, 0):
        raise ValueError("an array is of another version of .npy")
    shape, _, dtype = npy.read_array_header_1_0(file)
    if len(array) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError("an array is not as long as its header says")
    return f"{dtype} {shape}"


def _compare(path: Path, about: dict[str, Any], template: Any, fingerprints: dict[str, str]) -> None:
    """UserError where a checkpoint, whole as it is, was written by another run."""
    for name, value in fingerprints.items():
        if about["fingerprints"].get(name) != value:
            raise UserError(f"{path}: was written with another {name}{_OTHERWISE}")
    for its, ours in zip_longest(about["leaves"], _leaves(template), fillvalue="nothing"):
        if its != ours:
            raise UserError(f"{path}: holds {its} where {ours} is needed{_OTHERWISE}")


def _leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by a line that says what they are, such as 'state/params/0/w: float32 (784, 128)'."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        found[f"{jax.tree_util.keystr(path, simple=True, separator='/')}: {leaf.dtype} {leaf.shape}"] = leaf
    return found


def _found(folder: Path) -> dict[int, Path]:
    """The checkpoints by their steps, whole or not, newest first."""
    paths = [path for path in folder.glob("*.npz") if re.fullmatch("0|[1-9][0-9]{0,17}", path.stem)]
    return {int(path.stem): path for path in sorted(paths, key=lambda path: -int(path.stem))}
