"""IDX archives as uint8 arrays: a strict reader that trusts no header, and a decoded copy that is memory-mapped.

The format is LeCun's (http://yann.lecun.com/exdb/mnist): two zero bytes, the element type, the number of dimensions,
each dimension as a big-endian uint32, then the elements in row-major order. All errors are UserErrors that name the
file.
"""

import contextlib
import gzip
import hashlib
import math
import mmap
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlp_jax.errors import UserError

MAX_BYTES = 2**31 - 1  # of a decoded archive: bounds a bomb, and keeps every index an int32
_UBYTE = 0x08
_DEFLATE_RATIO = 1032  # no deflate stream expands further: 258 bytes from 2 bits
_BLOCK = 1 << 20
_ALIGNED = 64  # JAX uses a host array where it lies, uncopied, if it begins at a multiple of this
_WORTH_KEEPING = 1 << 20  # decoded bytes; less is decoded sooner than found
_ENTRIES_KEPT = 8


def encode(array: np.ndarray) -> bytes:
    """The uncompressed IDX file of a uint8 array."""
    return _header(array.shape) + array.astype(np.uint8).tobytes()


def decode(path: Path, ndim: int) -> tuple[np.ndarray, str]:
    """The read-only uint8 array of an IDX file, plain or gzip-compressed, and the SHA-256 of its uncompressed bytes."""
    blocks = _blocks(path, ndim)
    header = next(blocks)
    try:  # an anonymous map begins on a page and takes memory only as it is filled
        memory = mmap.mmap(-1, _ALIGNED + math.prod(_shape(header, ndim, path)))
    except OSError as error:
        raise UserError(f"{path}: no memory for what its header promises: {error}") from error
    memory.seek(_ALIGNED - len(header))
    memory.write(header)
    for block in blocks:
        memory.write(block)
    return _view(memory, ndim, path)


def decode_kept(path: Path, ndim: int, archive_sha256: str, folder: Path) -> tuple[np.ndarray, str]:
    """As `decode`, but a large compressed archive is mapped from its decoded copy in `folder`, made the first time.

    A copy carries the sums of the archive and of its own content in its name. Both are checked each time, a broken
    copy is removed and made again, and a folder that cannot be written only costs the time.
    """
    for entry in _entries(folder):
        if entry.name.startswith(f"{archive_sha256}-{ndim}-"):
            try:
                with open(entry, "rb") as file:
                    array, digest = _view(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), ndim, entry)
                if entry.name.endswith(f"-{digest}.idx"):
                    return array, digest
            except (OSError, ValueError, UserError):
                pass
            with contextlib.suppress(OSError):
                entry.unlink()
    array, digest = decode(path, ndim)
    if array.nbytes >= _WORTH_KEEPING and is_gzip(path):
        with contextlib.suppress(OSError):
            _keep(array, folder, f"{archive_sha256}-{ndim}-{digest}.idx")
    return array, digest


def check(path: Path, ndim: int) -> tuple[int, ...]:
    """The shape in an IDX file, after its header and its length have been checked; keeps nothing of its elements."""
    blocks = _blocks(path, ndim)
    shape = _shape(next(blocks), ndim, path)
    for _ in blocks:
        pass
    return shape


def is_gzip(path: Path) -> bool:
    """Whether a file is gzip-compressed, by its first bytes: browsers unpack downloads and leave their names."""
    with _open(path) as file:
        return file.read(2) == b"\x1f\x8b"


def sha256(path: Path) -> str:
    """The SHA-256 of a file as it lies on the disk, in hexadecimal."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _open(path: Path) -> Iterator:
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        raise UserError(f"{path}: {'is not a file' if os.path.exists(path) else 'no such file'}")
    try:
        with open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def _blocks(path: Path, ndim: int) -> Iterator[bytes]:
    """The uncompressed file: its header, then blocks of at most 1 MiB, together exactly what the header promises."""
    compressed = is_gzip(path)
    with _open(path) as file:
        stream = gzip.GzipFile(fileobj=file) if compressed else file
        header = stream.read(4 + 4 * ndim)
        shape = _shape(header, ndim, path)
        missing = math.prod(shape)
        holds = os.fstat(file.fileno()).st_size * (_DEFLATE_RATIO if compressed else 1)
        if len(header) + missing > min(holds, MAX_BYTES):
            limit = "it can hold (cut short?)" if holds < MAX_BYTES else f"the {MAX_BYTES} allowed"
            raise UserError(f"{path}: the header promises {_times(shape)} bytes, more than {limit}")
        yield header
        while missing:
            block = stream.read(min(missing, _BLOCK))
            if not block:
                raise UserError(f"{path}: cut short: {missing} of the {_times(shape)} bytes are missing")
            missing -= len(block)
            yield block
        if stream.read(1):
            raise UserError(f"{path}: longer than the {_times(shape)} bytes that its header promises")


def _header(shape: tuple[int, ...]) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, _UBYTE, len(shape), *shape)


def _shape(header: bytes, ndim: int, path: Path) -> tuple[int, ...]:
    if len(header) < 4 + 4 * ndim:
        raise UserError(f"{path}: cut short within its header")
    zeros, element_type, dimensions, *shape = struct.unpack(f">HBB{ndim}I", header)
    if zeros:
        raise UserError(f"{path}: not an IDX file: begins with {header[:2].hex()} instead of 0000")
    if element_type != _UBYTE:
        raise UserError(f"{path}: elements of type 0x{element_type:02x}; only unsigned bytes, 0x08, are read")
    if dimensions != ndim:
        raise UserError(f"{path}: {dimensions} dimensions instead of {ndim}")
    if 0 in shape:
        raise UserError(f"{path}: empty, its header says {_times(shape)}")
    return tuple(shape)


def _times(shape: list[int] | tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _view(memory: mmap.mmap, ndim: int, path: Path) -> tuple[np.ndarray, str]:
    """The array in a map, where a header lies so that the elements begin at byte 64, and the sum from the header on."""
    bytes_ = np.frombuffer(memory, np.uint8)
    bytes_.flags.writeable = False
    begin = _ALIGNED - (4 + 4 * ndim)
    shape = _shape(bytes_[begin:_ALIGNED].tobytes(), ndim, path)
    return bytes_[_ALIGNED:].reshape(shape), hashlib.sha256(bytes_[begin:].data).hexdigest()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _keep(array: np.ndarray, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(_header(array.shape).rjust(_ALIGNED, b"\0"))
            file.write(array.data)
        os.replace(temporary, folder / name)
    except BaseException:
        os.unlink(temporary)
        raise
    for entry in sorted(_entries(folder), key=os.path.getmtime)[:-_ENTRIES_KEPT]:
        entry.unlink()
