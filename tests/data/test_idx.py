import gzip
import hashlib
import os
import re
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlp_jax.data import idx
from mlp_jax.errors import UserError
from tests.shared.idx_files import idx_bytes

IMAGES = np.random.default_rng(0).integers(0, 16, (1500, 28, 28), dtype=np.uint8)  # above the size worth keeping


@st.composite
def arrays(draw):
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).filter(lambda shape: len(shape) != 2))
    content = draw(st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return np.frombuffer(content, np.uint8).reshape(shape)


def read(content: bytes, ndim: int, compressed: bool = False):
    """Decodes a file of that content, and sees that an error is one line that begins with its path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(gzip.compress(content, 1) if compressed else content)
        try:
            return idx.decode(path, ndim)
        except UserError as error:
            if re.fullmatch(f"{re.escape(str(path))}: [^\n]+", str(error)):
                raise
            pytest.fail(f"not one line that begins with the path: {error}")


@given(st.one_of(arrays(), st.just(IMAGES)), st.booleans())
def test_an_array_comes_back_with_its_shape_and_the_digest_of_its_file(array, compressed):
    decoded = read(idx_bytes(array), array.ndim, compressed)
    np.testing.assert_array_equal(decoded, array, strict=True)
    assert idx.digest(decoded) == idx.digest(np.asfortranarray(array)) == hashlib.sha256(idx_bytes(array)).hexdigest()


@given(arrays(), st.booleans(), st.data())
def test_a_file_that_is_cut_or_longer_or_has_another_header_is_refused(array, compressed, data):
    content = idx_bytes(array)
    for wrong in (content, gzip.compress(content)):
        with pytest.raises(UserError):
            read(wrong[: data.draw(st.integers(0, len(wrong) - 1))], array.ndim)
    with pytest.raises(UserError):
        read(content[:-1], array.ndim, compressed)
    with pytest.raises(UserError, match="longer"):
        read(content + data.draw(st.binary(min_size=1, max_size=20)), array.ndim, compressed)
    header = bytearray(content)
    header[data.draw(st.integers(0, 3 + 4 * array.ndim))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UserError):
        read(bytes(header), array.ndim, compressed)


@given(arrays(), st.data())
def test_a_flip_in_a_compressed_file_never_gives_other_numbers(array, data):
    content = bytearray(gzip.compress(idx_bytes(array)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = read(bytes(content), array.ndim)
    except UserError:
        return
    np.testing.assert_array_equal(decoded, array)  # the flip was in a time stamp or the like


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\0\0\x08\x01", b"\0\0\x08\x03"])
)
def test_any_bytes_are_an_array_or_an_error(content, beginning):
    content = beginning + content
    try:
        array = read(content, 1)
    except UserError:
        return
    assert idx_bytes(array) in (content, gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\1\0\x08\x01\0\0\0\1\0", "begins with 0100"),
        (b"\0\0\x0d\x01\0\0\0\1\0", "type 0x0d"),
        (b"\0\0\x08\x03\0\0\0\1\0", "3 dimensions instead of 1"),
        (b"\0\0\x08\x01\0\0\0\0\0", "empty"),
        (b"\0\0\x08\x01\0\0", "within its header"),
        (b"", "within its header"),
    ],
)
def test_a_wrong_header_is_named(content, says):
    with pytest.raises(UserError, match=says):
        read(content, 1)


def promising(*shape):
    return bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)


@pytest.mark.parametrize(
    ("content", "ndim", "says"),
    [
        (promising(2**31, 28, 28) + bytes(1000), 3, "2147483648×28×28 bytes, more than it can hold"),
        (
            gzip.compress(promising(2**21, 28, 28) + bytes(1000), mtime=0),
            3,
            "2097152×28×28 bytes, more than it can hold",
        ),
        # large enough, by deflate's best ratio, to hold what it promises
        (gzip.compress(promising(2**31), mtime=0) + bytes(2**22), 1, "2147483647 allowed"),
    ],
)
def test_a_header_that_promises_too_much_takes_no_memory(content, ndim, says):
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=says):
            read(content, ndim)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_a_gzip_that_inflates_without_end_is_left_one_byte_past_the_promise(monkeypatch):
    taken = []

    class Counting(gzip.GzipFile):
        def read(self, size=-1):
            block = super().read(size)
            taken.append(len(block))
            return block

    monkeypatch.setattr(gzip, "GzipFile", Counting)
    with pytest.raises(UserError, match="longer"):
        read(idx_bytes(np.zeros(1000, np.uint8)) + bytes(10**7), 1, compressed=True)
    assert sum(taken) == 8 + 1000 + 1


@pytest.mark.parametrize("reader", [idx.file_sha256, lambda path: idx.decode(path, 1)])
def test_what_is_no_file_is_an_error_and_never_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, says in {
        "pipe": "is not a file",
        "folder": "is not a file",
        "link": "no such",
        "none": "no such",
    }.items():
        with pytest.raises(UserError, match=f"{name}: {says}"):
            reader(tmp_path / name)


def test_no_memory_for_an_array_is_an_error(monkeypatch):
    def full(*_):
        raise MemoryError("Unable to allocate 1.1 MiB")

    monkeypatch.setattr(np, "empty", full)
    with pytest.raises(UserError, match="Unable to allocate"):
        read(idx_bytes(IMAGES), 3)


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "archive.gz"
    path.write_bytes(gzip.compress(idx_bytes(IMAGES), 1))
    return path, idx.file_sha256(path), tmp_path / "copies"


def from_copy(monkeypatch, archive):
    """What comes out where decompressing is impossible."""
    with monkeypatch.context() as patched:
        patched.setattr(gzip, "GzipFile", lambda **_: pytest.fail("decompressed again"))
        return idx.decode_images(*archive)


def test_an_archive_is_decompressed_once_into_arrays_that_jax_takes_uncopied(archive, monkeypatch):
    for images, digest in (idx.decode_images(*archive), from_copy(monkeypatch, archive)):
        np.testing.assert_array_equal(images, IMAGES, strict=True)
        assert digest == hashlib.sha256(idx_bytes(IMAGES)).hexdigest()
        assert images.ctypes.data % 64 == 0
        assert images.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            images[0, 0, 0] = 1


def flip(place):
    def damage(copy):
        content = bytearray(copy.read_bytes())
        content[place] ^= 4
        copy.write_bytes(content)

    return damage


def become_a_folder(copy):  # which is nothing of ours, and cannot be removed as a file
    copy.unlink()
    copy.with_stem(f"{copy.stem[:64]}-folder").mkdir()


DAMAGES = {
    **{f"flip at {place}": flip(place) for place in (0, 7, 8, 20, 60, 80, 128, 700_000, -1)},
    "cut": lambda copy: os.truncate(copy, copy.stat().st_size - 1),
    "empty": lambda copy: os.truncate(copy, 0),
    "another type": lambda copy: np.save(copy, IMAGES.astype(np.int8)),
    "another name": lambda copy: copy.rename(copy.with_stem(f"{copy.stem[:64]}-{'0' * 64}")),
    "a folder": become_a_folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_copy_is_removed_and_made_again(archive, monkeypatch, damage):
    idx.decode_images(*archive)
    (copy,) = archive[2].iterdir()
    DAMAGES[damage](copy)
    np.testing.assert_array_equal(idx.decode_images(*archive)[0], IMAGES, strict=True)
    np.testing.assert_array_equal(from_copy(monkeypatch, archive)[0], IMAGES, strict=True)
    assert [kept.name for kept in archive[2].iterdir() if kept.is_file()] == [copy.name]


def test_a_folder_that_cannot_be_written_is_no_trouble(archive, tmp_path):
    (tmp_path / "in the way").write_text("")
    images, _ = idx.decode_images(*archive[:2], tmp_path / "in the way" / "copies")
    np.testing.assert_array_equal(images, IMAGES)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_copy_that_cannot_be_finished_leaves_nothing_and_only_an_interruption_is_passed_on(
    archive, monkeypatch, error
):
    def fails(*_):
        raise error

    monkeypatch.setattr(os, "replace", fails)
    try:
        np.testing.assert_array_equal(idx.decode_images(*archive)[0], IMAGES)
    except KeyboardInterrupt:
        assert isinstance(error, KeyboardInterrupt)
    assert list(archive[2].iterdir()) == []


def test_the_eight_newest_copies_are_kept(archive):
    path, sha256, folder = archive
    folder.mkdir()
    for age in range(12):
        (folder / f"old-{age}").write_text("")
        os.utime(folder / f"old-{age}", (1000 - age, 1000 - age))
    idx.decode_images(path, sha256, folder)
    assert {entry.name[:5] for entry in folder.iterdir()} == {sha256[:5]} | {f"old-{age}" for age in range(7)}


@pytest.mark.parametrize("content", [gzip.compress(idx_bytes(IMAGES[:100])), idx_bytes(IMAGES)], ids=["small", "plain"])
def test_small_and_plain_files_are_not_kept(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    idx.decode_images(tmp_path / "file", idx.file_sha256(tmp_path / "file"), tmp_path / "copies")
    assert not (tmp_path / "copies").exists()
