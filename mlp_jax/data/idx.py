"""IDX archives as uint8 arrays: a strict reader that trusts no header, and a decoded copy that is memory-mapped.

The format is LeCun's (http://yann.lecun.com/exdb/mnist): two zero bytes, the element type, the number of dimensions,
each dimension as a big-endian uint32, then the elements in row-major order. All errors are UserErrors that name the
file.
"""

import contextlib
import gzip
import hashlib
import math
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np

from mlp_jax.errors import UserError

MAX_BYTES = 2**31 - 1  # of a decoded archive: bounds a bomb, and keeps every index an int32
_UBYTE = 0x08
_DEFLATE_RATIO = 1032  # no deflate stream expands further: 258 bytes from 2 bits
_BLOCK = 1 << 20
_ALIGNED = 64  # JAX uses a host array where it lies, uncopied, if it begins at a multiple of this
_WORTH_KEEPING = 1 << 20  # decoded bytes; less is decoded sooner than found
_COPIES_KEPT = 8


def decode(path: Path, ndim: int) -> np.ndarray:
    """The read-only uint8 array of an IDX file, plain or gzip-compressed."""
    with _open(path) as file:
        compressed = file.peek(2)[:2] == b"\x1f\x8b"  # whatever its name: browsers unpack downloads and leave the name
        stream = gzip.GzipFile(fileobj=file) if compressed else file
        shape = _shape(stream.read(4 + 4 * ndim), ndim, path)
        size, times = math.prod(shape), "×".join(map(str, shape))
        holds = os.fstat(file.fileno()).st_size * (_DEFLATE_RATIO if compressed else 1)
        if 4 + 4 * ndim + size > min(holds, MAX_BYTES):
            limit = "it can hold (cut short?)" if holds < MAX_BYTES else f"the {MAX_BYTES} allowed"
            raise UserError(f"{path}: the header promises {times} bytes, more than {limit}")
        memory = np.empty(size + _ALIGNED, np.uint8)
        begin = -memory.ctypes.data % _ALIGNED
        array = memory[begin : begin + size]
        for start in range(0, size, _BLOCK):  # a single read would hold the whole array twice
            block = array[start : start + _BLOCK]
            if (found := stream.readinto(block.data)) < len(block):
                raise UserError(f"{path}: cut short: {size - start - found} of the {times} bytes are missing")
        if stream.read(1):
            raise UserError(f"{path}: longer than the {times} bytes that its header promises")
    array.flags.writeable = False
    return array.reshape(shape)


def decode_images(path: Path, archive_sha256: str, folder: Path) -> tuple[np.ndarray, str]:
    """The array of `decode` and its `digest`; of a large compressed archive by a copy in `folder`, made the first time.

    A copy is a .npy file with the sums of the archive and of the array in its name, and is memory-mapped. Both are
    checked each time, a broken copy is removed and made again, and a folder that cannot be written only costs time.
    """
    for copy in folder.glob(f"{archive_sha256}-*.npy"):
        with contextlib.suppress(Exception):  # whatever NumPy says of a damaged file
            images = np.asarray(np.lib.format.open_memmap(copy, mode="r"))
            sha256 = digest(images)
            if images.dtype == np.uint8 and copy.stem == f"{archive_sha256}-{sha256}":
                return images, sha256
        with contextlib.suppress(OSError):
            copy.unlink()
    images = decode(path, 3)
    sha256 = digest(images)
    if images.nbytes >= _WORTH_KEEPING and path.stat().st_size < images.nbytes:
        with contextlib.suppress(OSError):
            _keep(images, folder, f"{archive_sha256}-{sha256}.npy")
    return images, sha256


def digest(array: np.ndarray) -> str:
    """The SHA-256 of the uncompressed IDX file of a uint8 array, in hexadecimal."""
    sha256 = hashlib.sha256(struct.pack(f">HBB{array.ndim}I", 0, _UBYTE, array.ndim, *array.shape))
    sha256.update(np.ascontiguousarray(array).data)
    return sha256.hexdigest()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file as it lies on the disk, in hexadecimal."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BufferedReader]:
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        raise UserError(f"{path}: {'is not a file' if os.path.exists(path) else 'no such file'}")
    try:
        with open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error, MemoryError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


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
        raise UserError(f"{path}: empty, its header says {'×'.join(map(str, shape))}")
    return tuple(shape)


def _keep(array: np.ndarray, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    try:
        with open(descriptor, "wb") as file:
            np.save(file, array)
        os.replace(temporary, folder / name)
    except BaseException:
        os.unlink(temporary)
        raise
    for old in sorted(folder.iterdir(), key=os.path.getmtime)[:-_COPIES_KEPT]:
        old.unlink()
