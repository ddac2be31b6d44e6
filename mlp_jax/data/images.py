"""Image files and arrays as rows of pixels, the way a dataset of a given shape has them."""

import glob
import os

import numpy as np
from PIL import Image

from mlp_jax.data.arrays import as_features
from mlp_jax.errors import UserError

KINDS = (".png", ".jpg", ".jpeg", ".npy")  # of files that a folder is searched for
MOST_PIXELS = 100_000_000  # of one picture's square; a header may promise more than there is


def read(paths: tuple[str, ...], shape: tuple[int, int], scale: float) -> tuple[list[str], np.ndarray]:
    """Names and pixels, uint8 (n, height·width) valued 0 … `scale`, of PNG or JPEG files and .npy arrays.

    A picture of any size is turned grey, padded to a square and scaled to `shape`; one that is dark on light, by three
    of its four corners, is inverted, since the datasets are light on dark. An array is (n, height, width), (n, pixels)
    or one image, taken as it is: integers 0 … `scale`, or floats 0 … 1. A name with wildcards that is no file stands
    for those that match, sorted: `--inputs=*.png` reaches us as written, as no shell expands it. A folder stands for
    the pictures and arrays in it, sorted.
    """
    names: list[str] = []
    rows: list[np.ndarray] = []
    for path in (found for given in paths for found in _pictures(given)):
        try:
            pixels = _array(path, shape, scale) if path.endswith(".npy") else _picture(path, shape, scale)
        except FileNotFoundError:
            raise UserError(f"--inputs: {path!r} is not there") from None
        except UserError:
            raise
        except (OSError, SyntaxError, ValueError, OverflowError, Image.DecompressionBombError) as error:
            why = " ".join(str(error).split())
            raise UserError(f"--inputs: {path!r} is no PNG, JPEG or .npy file that can be read: {why}") from error
        names += [path] if len(pixels) == 1 else [f"{path}[{number}]" for number in range(len(pixels))]
        rows.append(pixels)
    return names, np.concatenate(rows)


def read_rows(paths: tuple[str, ...], inputs: int, pixels: bool) -> tuple[list[str], np.ndarray]:
    """Names and rows (n, inputs) of .npy arrays of examples that are no grey pictures, or of a single example each.

    Of a network trained on `pixels` they are uint8, otherwise features as `arrays.as_features` takes them.
    """
    names: list[str] = []
    rows: list[np.ndarray] = []
    for path in (found for given in paths for found in _pictures(given)):
        if not path.endswith(".npy"):
            raise UserError(f"--inputs: {path!r} is no .npy array; the network was trained on rows of {inputs} numbers")
        try:
            array: np.ndarray = np.lib.format.open_memmap(path, mode="r")  # runs no pickle
        except FileNotFoundError:
            raise UserError(f"--inputs: {path!r} is not there") from None
        except (OSError, ValueError) as error:
            raise UserError(f"--inputs: {path!r} is no .npy file that can be read: {error}") from error
        array = array[None] if array.ndim == 1 or array.size == inputs else array
        found = as_features(f"--inputs: {path!r}", array, (inputs,))
        if pixels != (found.dtype == np.uint8):
            raise UserError(f"--inputs: {path!r} has {array.dtype} values; allowed: {'' if pixels else 'not '}uint8")
        names += [path] if len(found) == 1 else [f"{path}[{number}]" for number in range(len(found))]
        rows.append(found.reshape(len(found), inputs))
    return names, np.concatenate(rows)


def _pictures(given: str) -> list[str]:
    """The files that a path names: those of a folder, or of a pattern, or itself."""
    if os.path.isdir(given):
        paths = [os.path.join(given, name) for name in sorted(os.listdir(given)) if name.lower().endswith(KINDS)]
        inside = [path for path in paths if os.path.isfile(path)]
        if not inside:
            raise UserError(f"--inputs: {given!r} is a folder without PNG, JPEG or .npy files")
        return inside
    found = matching(given)
    if glob.has_magic(given) and found == [given] and not os.path.exists(given):
        raise UserError(f"--inputs: no file matches {given!r}")
    return found


def matching(given: str) -> list[str]:
    """The paths that a pattern such as runs/* stands for, which a shell leaves alone after --inputs=; else the path."""
    return [given] if os.path.exists(given) else sorted(glob.glob(given)) or [given]


def _picture(path: str, shape: tuple[int, int], scale: float) -> np.ndarray:
    with Image.open(path, formats=("PNG", "JPEG")) as image:
        if max(image.size) ** 2 > MOST_PIXELS:
            side = int(MOST_PIXELS**0.5)
            raise UserError(f"--inputs: {path!r} has {image.width}×{image.height} pixels; allowed: {side}×{side}")
        grey = _grey(image)
    if (grey[[0, 0, -1, -1], [0, -1, 0, -1]] > 127).sum() >= 3:  # the corners
        grey = 255 - grey
    if grey.shape != shape:
        side = max(grey.shape)
        square = np.zeros((side, side), np.uint8)
        top, left = (side - grey.shape[0]) // 2, (side - grey.shape[1]) // 2
        square[top : top + grey.shape[0], left : left + grey.shape[1]] = grey
        method = Image.Resampling.BOX if side > shape[0] else Image.Resampling.BICUBIC
        grey = np.asarray(Image.fromarray(square).resize((shape[1], shape[0]), method))
    return np.rint(grey * (scale / 255)).astype(np.uint8).reshape(1, -1)


def _grey(image: Image.Image) -> np.ndarray:
    """Brightness, uint8 (height, width); behind what is transparent lies black or white, far from what is drawn."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
        return (np.asarray(image).astype(np.int64) // 257).clip(0, 255).astype(np.uint8)
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))
    image = image.convert("RGBA")
    grey, alpha = np.asarray(image.convert("L"), float), np.asarray(image.getchannel("A")) / 255
    background = 0 if (alpha * grey).sum() > 127.5 * alpha.sum() else 255
    return np.rint(alpha * grey + (1 - alpha) * background).astype(np.uint8)


def _array(path: str, shape: tuple[int, int], scale: float) -> np.ndarray:
    array: np.ndarray = np.lib.format.open_memmap(path, mode="r")  # runs no pickle
    pixels = shape[0] * shape[1]
    if array.shape in (shape, (pixels,)):
        array = array[None]
    elif array.shape[1:] not in (shape, (pixels,)) or not len(array):
        allowed = f"(n, {shape[0]}, {shape[1]}) or (n, {pixels})"
        raise UserError(f"--inputs: {path!r} is of shape {array.shape}; allowed: {allowed}")
    if array.dtype.kind == "f" and np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1:
        array = np.rint(np.asarray(array) * scale)
    elif array.dtype.kind not in "ui" or array.min() < 0 or array.max() > scale:
        raise UserError(f"--inputs: {path!r} has {array.dtype} values; allowed: integers 0 … {scale:g} or floats 0 … 1")
    return np.asarray(array, np.uint8).reshape(len(array), -1)
