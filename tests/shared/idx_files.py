"""Small folders of IDX files for tests, written without the package's own code."""

import gzip
import struct
from pathlib import Path

import numpy as np

STEMS = {"train-images": 3, "train-labels": 1, "t10k-images": 3, "t10k-labels": 1}


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def make_arrays(
    num_train: int = 200, num_test: int = 50, side: int = 6, classes: int = 4, seed: int = 0
) -> dict[str, np.ndarray]:
    """Four arrays by stem: noisy pictures of one random pattern a class, which a small net learns at once."""
    generator = np.random.default_rng(seed)
    patterns = generator.integers(40, 216, (classes, side, side))

    def part(size: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.permutation(np.arange(size) % classes)
        noise = generator.integers(-40, 41, (size, side, side))
        return (patterns[labels] + noise).astype(np.uint8), labels.astype(np.uint8)

    return dict(zip(STEMS, (*part(num_train), *part(num_test)), strict=True))


def file_name(stem: str, dot: str = "-", gz: bool = False) -> str:
    return f"{stem}{dot}idx{STEMS[stem]}-ubyte{'.gz' if gz else ''}"


def write_idx_folder(
    folder: Path, arrays: dict[str, np.ndarray] | None = None, dot: str = "-", gz: bool = False
) -> dict[str, np.ndarray]:
    """Writes four IDX files and returns their arrays; `dot` is the character before idx ('-' or '.')."""
    arrays = arrays or make_arrays()
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in arrays.items():
        content = idx_bytes(array)
        (folder / file_name(stem, dot, gz)).write_bytes(gzip.compress(content, 1, mtime=0) if gz else content)
    return arrays
