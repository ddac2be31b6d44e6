"""Pictures and arrays as rows of pixels: every size, polarity and kind of file, and files that are none."""

import io
import pickle
import re
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlp_jax.data.images import read
from mlp_jax.errors import UserError

SHAPE = (28, 28)


@pytest.fixture(scope="module")
def digit():
    """A light stroke with soft edges on black, its corners dark."""
    image = np.zeros(SHAPE, np.uint8)
    image[5:23, 12:16] = np.random.default_rng(0).integers(128, 256, (18, 4))
    image[5:8, 8:20] = 200
    return image


def save(folder, image, name="a.png", **options):
    path = folder / name
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return str(path)


def one(path, shape=SHAPE, scale=255):
    names, pixels = read((path,), shape, scale)
    assert names == [path]
    assert (pixels.dtype, pixels.shape) == (np.uint8, (1, shape[0] * shape[1]))
    return pixels.reshape(shape)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_a_picture_of_the_data_is_itself_in_every_mode(mode, digit, tmp_path):
    image = Image.fromarray(digit.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(digit).convert(mode)
    path = save(tmp_path, image)
    with Image.open(path) as written:
        assert written.mode == mode
    assert (one(path) == digit).all()


def test_one_bit_a_pixel_or_a_transparent_colour_is_black_and_white(digit, tmp_path):
    drawn = digit > 127
    path = save(tmp_path, Image.fromarray(drawn.astype(np.uint8) * 255).convert("1"))
    assert (one(path) == np.where(drawn, 255, 0)).all()
    palette = Image.fromarray(drawn.astype(np.uint8), "L").convert("P")
    palette.putpalette([9, 9, 9, 0, 0, 0])
    palette.putdata(list(drawn.astype(np.uint8).flat))
    assert (one(save(tmp_path, palette, transparency=0)) == np.where(drawn, 255, 0)).all()


@pytest.mark.parametrize(("light_corners", "inverted"), [(0, False), (1, False), (2, False), (3, True), (4, True)])
def test_polarity_is_what_three_corners_say(light_corners, inverted, digit, tmp_path):
    image = digit.copy()
    for row, column in [(0, 0), (0, -1), (-1, 0), (-1, -1)][:light_corners]:
        image[row, column] = 255
    assert (one(save(tmp_path, image)) == (255 - image if inverted else image)).all()


def test_a_jpeg_is_nearly_itself(digit, tmp_path):
    path = save(tmp_path, np.kron(digit, np.ones((8, 8), np.uint8)), "a.jpg", quality=90)  # JPEG's blocks are 8×8
    assert np.abs(one(path).astype(int) - digit).max() <= 3


@pytest.mark.parametrize("factor", [2, 5])
@pytest.mark.parametrize("flip", [0, 255])
def test_a_larger_picture_is_averaged(factor, flip, digit, tmp_path):
    large = np.kron(digit, np.ones((factor, factor), np.uint8)) ^ np.uint8(flip)
    assert np.abs(one(save(tmp_path, large)).astype(int) - digit).max() <= 1


def test_a_smaller_picture_is_spread(tmp_path):
    small = np.zeros((7, 7), np.uint8)
    small[2:5, 2:5] = 200
    large = one(save(tmp_path, small)).astype(int)
    assert (large[12:16, 12:16] >= 200).all()
    assert large.mean() == pytest.approx(small.mean(), abs=3)
    assert np.abs(large - large.T).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(28, 12), (12, 28), (1, 28), (1, 1)])
@pytest.mark.parametrize("polarity", [0, 255])
def test_a_picture_that_is_no_square_is_padded_evenly_with_its_background(height, width, polarity, tmp_path):
    image = np.zeros((height, width), np.uint8)
    image[:, width // 2] = 255 if width > 1 else 0
    top, left = (28 - height) // 2, (28 - width) // 2
    expected = np.pad(image, ((top, 28 - height - top), (left, 28 - width - left)))
    assert (one(save(tmp_path, image ^ np.uint8(polarity))) == expected).all()


@pytest.mark.parametrize("ink", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_stroke_on_nothing_is_light_on_dark_whatever_its_ink(ink, mode, digit, tmp_path):
    image = Image.fromarray(np.full(SHAPE, ink, np.uint8)).convert(mode)
    image.putalpha(Image.fromarray(digit))
    assert (one(save(tmp_path, image)) == digit).all()


def test_another_shape_and_scale(tmp_path):
    """The 8×8 digits of scikit-learn count from 0 to 16."""
    image = np.zeros((8, 8), np.uint8)
    image[2:6, 3] = [16, 8, 4, 1]
    path = save(tmp_path, (image.astype(int) * 255 // 16).astype(np.uint8))
    assert (one(path, (8, 8), 16) == image).all()


def test_arrays_of_every_layout_are_the_same_rows(digit, tmp_path):
    stack = np.stack([digit, digit.T, 255 - digit])
    rows, floats = stack.reshape(3, -1), stack / 255
    path = str(tmp_path / "a.npy")
    for array in (stack, rows, stack.astype(">i8"), np.asfortranarray(stack), floats, floats.astype(np.float32)):
        np.save(path, array)
        names, pixels = read((path,), SHAPE, 255)
        assert names == [f"{path}[0]", f"{path}[1]", f"{path}[2]"]
        np.testing.assert_array_equal(pixels, rows, strict=True)
    for array in (digit, digit.reshape(-1), digit[None]):
        np.save(path, array)
        assert (one(path) == digit).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 27, 28), np.uint8), r"shape \(3, 27, 28\); allowed: \(n, 28, 28\) or \(n, 784\)"),
        (np.zeros((3, 28, 28, 1), np.uint8), "shape"),
        (np.zeros((), np.uint8), r"shape \(\)"),
        (np.zeros((0, 28, 28), np.uint8), "five.npy"),
        (np.full(SHAPE, np.nan), "float64 values"),
        (np.full(SHAPE, np.inf), "float64 values"),
        (np.full(SHAPE, 1.5), "float64 values"),
        (np.full(SHAPE, -0.1), "float64 values"),
        (np.full(SHAPE, 256), "int64 values"),
        (np.full(SHAPE, -1), "int64 values"),
        (np.full(SHAPE, 1j), "complex128 values"),
        (np.full(SHAPE, True), "bool values"),
        (np.full(SHAPE, "1"), "values"),
        (np.zeros(SHAPE, [("grey", "u1")]), "values"),
    ],
    ids=lambda value: "" if isinstance(value, str) else f"{value.dtype}{value.shape}",
)
def test_arrays_that_are_no_images(array, message, tmp_path):
    path = tmp_path / "five.npy"
    np.save(path, array)
    with pytest.raises(UserError, match=message):
        read((str(path),), SHAPE, 255)


def png(width, height, body=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def npy(*shape):
    header = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(784)


def saved(write, *arguments, **options):
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


class Trap:
    def __reduce__(self):
        return print, ("a pickle was run",)


GREY = Image.fromarray(np.arange(200, dtype=np.uint8).repeat(200).reshape(200, 200))
SIZES = [(2**31 - 1, 2**31 - 1), (60_000, 60_000), (10_001, 10_000), (1, 50_000_000), (50_000_000, 1)]
NO_IMAGES = {
    "text.png": b"not a picture at all\n",
    "empty.png": b"",
    "empty.npy": b"",
    "text.npy": b"1 2 3\n",
    "picture.npy": png(28, 28),
    "head.png": saved(GREY.save, "png")[:20],
    "half.png": saved(GREY.save, "png")[:200],
    "gif.png": saved(GREY.save, "gif"),
    "nothing.png": png(28, 28),
    "objects.npy": saved(np.save, np.array([Trap()], object), allow_pickle=True),
    "bare pickle.npy": pickle.dumps(Trap()),
    "several.npy": saved(np.savez, np.zeros(SHAPE)),
    # headers that promise more than there is
    **{f"{width} by {height}.png": png(width, height) for width, height in SIZES},
    **{f"{size}.npy": npy(size, 784) for size in (-1, 2**40, 2**62, 2**70)},
}


def test_a_folder_stands_for_the_pictures_in_it(tmp_path):
    for name, value in (("b.png", 20), ("a.PNG", 10), ("c.jpeg", 30), ("notes.txt", 0), ("below", 0)):
        if name == "below":
            (tmp_path / name).mkdir()
        elif name == "notes.txt":
            (tmp_path / name).write_text("x")
        else:
            Image.fromarray(np.full(SHAPE, value, np.uint8)).save(tmp_path / name)
    names, pixels = read((str(tmp_path),), SHAPE, 255)
    assert names == [str(tmp_path / name) for name in ("a.PNG", "b.png", "c.jpeg")]
    np.testing.assert_array_equal(pixels[:, 0], [10, 20, 30])


@pytest.mark.filterwarnings("ignore:overflow", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", [*NO_IMAGES, "folder.npy", ".", "none.png", "none.npy"])
def test_a_file_that_is_no_image_is_one_line(tmp_path, capsys, name):
    if name in NO_IMAGES:
        (tmp_path / name).write_bytes(NO_IMAGES[name])
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(UserError) as caught:
        read((str(tmp_path / name),), SHAPE, 255)
    says = r"is not there" if name.startswith("none") else r"(is|has) \S.*"
    assert re.fullmatch(f"--inputs: {re.escape(repr(str(tmp_path / name)))} {says}", str(caught.value))
    assert capsys.readouterr().out == ""  # no pickle was run


def test_a_damaged_picture_never_shows_a_traceback(digit, tmp_path):
    content = Path(save(tmp_path, digit)).read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(content[: generator.integers(1, len(content) + 1)])
        for place in generator.integers(0, len(damaged), 3):
            damaged[place] = generator.integers(256)
        (tmp_path / "b.png").write_bytes(damaged)
        with suppress(UserError):
            one(str(tmp_path / "b.png"))


def test_several_inputs_keep_their_order(digit, tmp_path):
    np.save(tmp_path / "two.npy", np.stack([digit, digit.T]))
    paths = [save(tmp_path, digit.T, "b.png"), str(tmp_path / "two.npy"), save(tmp_path, digit, "a.png")]
    names, pixels = read(tuple(paths), SHAPE, 255)
    assert names == [paths[0], f"{paths[1]}[0]", f"{paths[1]}[1]", paths[2]]
    assert (pixels.reshape(-1, 28, 28) == np.stack([digit.T, digit, digit.T, digit])).all()


def test_wildcards_that_no_shell_expanded(digit, tmp_path):
    for name in ("10.png", "2.png", "1.png"):
        save(tmp_path, digit, name)
    names, _ = read((f"{tmp_path}/*.png",), SHAPE, 255)
    assert names == [str(tmp_path / name) for name in ("1.png", "10.png", "2.png")]
    literal = save(tmp_path, digit.T, "[1].png")
    assert (one(literal) == digit.T).all()
    with pytest.raises(UserError, match=r"no file matches '.*/\*\.jpg'"):
        read((f"{tmp_path}/*.jpg",), SHAPE, 255)
