import gzip
import hashlib
import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlp_jax.data import idx
from mlp_jax.errors import UserError
from tests.shared.idx_files import idx_bytes

ARCHIVE = np.random.default_rng(0).integers(0, 256, (1500, 28, 28), dtype=np.uint8)  # above the size worth keeping


@st.composite
def arrays(draw):
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).filter(lambda shape: len(shape) != 2))
    content = draw(st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return np.frombuffer(content, np.uint8).reshape(shape)


def read(content: bytes, ndim: int):
    """Decodes and checks a file of that content: both must agree about it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        try:
            array, digest = idx.decode(path, ndim)
        except UserError:
            with pytest.raises(UserError, match=f"^{re.escape(str(path))}: [^\n]+$"):
                idx.check(path, ndim)
            raise
        assert idx.check(path, ndim) == array.shape
        return array, digest


@settings(deadline=None)
@given(arrays(), st.booleans())
def test_round_trip(array, compressed):
    content = idx_bytes(array)
    assert idx.encode(array) == content
    decoded, digest = read(gzip.compress(content) if compressed else content, array.ndim)
    np.testing.assert_array_equal(decoded, array)
    assert (decoded.dtype, decoded.shape) == (np.uint8, array.shape)
    assert digest == hashlib.sha256(content).hexdigest()


@settings(deadline=None)
@given(arrays(), st.booleans(), st.data())
def test_any_truncation_is_an_error(array, compressed, data):
    content = gzip.compress(idx_bytes(array)) if compressed else idx_bytes(array)
    with pytest.raises(UserError):
        read(content[: data.draw(st.integers(0, len(content) - 1))], array.ndim)


@settings(deadline=None)
@given(arrays(), st.booleans(), st.binary(min_size=1, max_size=20))
def test_any_extension_is_an_error(array, compressed, more):
    content = idx_bytes(array) + more
    with pytest.raises(UserError, match="longer"):
        read(gzip.compress(content) if compressed else content, array.ndim)


@settings(deadline=None)
@given(arrays(), st.booleans(), st.data())
def test_any_other_byte_in_the_header_is_an_error(array, compressed, data):
    content = bytearray(idx_bytes(array))
    content[data.draw(st.integers(0, 3 + 4 * array.ndim))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UserError):
        read(gzip.compress(content) if compressed else bytes(content), array.ndim)


@settings(deadline=None)
@given(arrays(), st.data())
def test_a_flip_in_a_compressed_file_never_gives_other_numbers(array, data):
    content = bytearray(gzip.compress(idx_bytes(array)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded, _ = read(bytes(content), array.ndim)
    except UserError:
        return
    np.testing.assert_array_equal(decoded, array)  # the flip was in a time stamp or the like


@settings(deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\0\0\x08\x01", b"\0\0\x08\x03"])
)
def test_any_bytes_are_an_array_or_an_error(content, beginning):
    content = beginning + content
    try:
        array, _ = read(content, 1)
    except UserError:
        return
    assert idx_bytes(array) in (content, gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        (b"\1\0\x08\x01\0\0\0\1", "begins with 0100"),
        (b"\0\0\x0d\x01\0\0\0\1", "type 0x0d"),
        (b"\0\0\x08\x03\0\0\0\1", "3 dimensions instead of 1"),
        (b"\0\0\x08\x01\0\0\0\0", "empty"),
        (b"\0\0\x08\x01\0\0", "within its header"),
        (b"", "within its header"),
    ],
)
def test_a_wrong_header_is_named(header, says):
    with pytest.raises(UserError, match=says):
        read(header + b"\0" if len(header) == 8 else header, 1)


@pytest.mark.parametrize("images", [2**31, 2**21])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_header_that_promises_more_than_the_file_can_hold_takes_no_memory(tmp_path, monkeypatch, compressed, images):
    content = b"\0\0\x08\x03" + images.to_bytes(4, "big") + (28).to_bytes(4, "big") * 2 + bytes(1000)
    (tmp_path / "bomb").write_bytes(gzip.compress(content) if compressed else content)
    monkeypatch.setattr(idx.mmap, "mmap", lambda *_: pytest.fail("memory taken"))
    with pytest.raises(UserError, match=f"{images}×28×28 bytes, more than it can hold"):
        idx.decode(tmp_path / "bomb", 3)


def test_more_than_two_gigabytes_are_refused_before_memory_is_taken(tmp_path, monkeypatch):
    header = b"\0\0\x08\x01" + (2**31).to_bytes(4, "big")
    with open(tmp_path / "bomb", "wb") as file:  # large enough, by deflate's best ratio, to hold what it promises
        file.write(gzip.compress(header) + bytes(2**22))
    monkeypatch.setattr(idx.mmap, "mmap", lambda *_: pytest.fail("memory taken"))
    with pytest.raises(UserError, match="2147483647 allowed"):
        idx.decode(tmp_path / "bomb", 1)


@pytest.mark.parametrize("reader", [idx.decode, idx.check])
def test_a_gzip_that_inflates_without_end_is_left_one_byte_past_the_promise(tmp_path, monkeypatch, reader):
    (tmp_path / "bomb").write_bytes(gzip.compress(idx_bytes(np.zeros(1000, np.uint8)) + bytes(10**8), 1))
    taken = []

    class Counting(gzip.GzipFile):
        def read(self, size=-1):
            block = super().read(size)
            taken.append(len(block))
            return block

    monkeypatch.setattr(idx.gzip, "GzipFile", Counting)
    with pytest.raises(UserError, match="longer"):
        reader(tmp_path / "bomb", 1)
    assert sum(taken) == 8 + 1000 + 1


def test_a_large_array_is_read_in_blocks(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(gzip.compress(idx_bytes(ARCHIVE), 1))
    monkeypatch.setattr(idx, "_BLOCK", 1000)
    np.testing.assert_array_equal(idx.decode(tmp_path / "file", 3)[0], ARCHIVE)
    assert idx.check(tmp_path / "file", 3) == ARCHIVE.shape


def test_a_block_is_a_mebibyte(tmp_path):
    (tmp_path / "file").write_bytes(idx_bytes(ARCHIVE))
    header, *blocks = idx._blocks(tmp_path / "file", 3)
    assert len(header) == 16
    assert [len(block) for block in blocks] == [2**20, ARCHIVE.nbytes - 2**20]


@pytest.mark.parametrize("reader", [idx.is_gzip, idx.sha256, lambda path: idx.decode(path, 1)])
def test_what_is_no_file_is_an_error_and_never_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, says in [
        ("pipe", "is not a file"),
        ("folder", "is not a file"),
        ("link", "no such"),
        ("none", "no such"),
    ]:
        with pytest.raises(UserError, match=f"{name}: {says}"):
            reader(tmp_path / name)


def test_no_memory_for_an_array_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(idx_bytes(ARCHIVE))

    def full(*_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(idx.mmap, "mmap", full)
    with pytest.raises(UserError, match="no memory"):
        idx.decode(tmp_path / "file", 3)


def test_arrays_begin_where_jax_takes_them_uncopied_and_cannot_be_written(archive):
    path, key, folder = archive
    for array, _ in (idx.decode(path, 3), idx.decode_kept(path, 3, key, folder), idx.decode_kept(path, 3, key, folder)):
        assert array.ctypes.data % 64 == 0
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "archive.gz"
    path.write_bytes(gzip.compress(idx_bytes(ARCHIVE), 1))
    return path, idx.sha256(path), tmp_path / "kept"


def kept_only(monkeypatch, archive):
    """What comes out where decompressing is impossible."""
    path, key, folder = archive
    with monkeypatch.context() as patched:
        patched.setattr(idx.gzip, "GzipFile", lambda **_: pytest.fail("decompressed again"))
        return idx.decode_kept(path, 3, key, folder)


def test_an_archive_is_decompressed_once(archive, monkeypatch):
    path, key, folder = archive
    first = idx.decode_kept(path, 3, key, folder)
    second = kept_only(monkeypatch, archive)
    for array, digest in (first, second):
        np.testing.assert_array_equal(array, ARCHIVE)
        assert digest == hashlib.sha256(idx_bytes(ARCHIVE)).hexdigest()


@pytest.mark.parametrize("damage", ["flip", "first", "cut", "longer", "empty", "header", "folder", "renamed"])
def test_a_broken_copy_is_removed_and_made_again(archive, monkeypatch, damage):
    path, key, folder = archive
    idx.decode_kept(path, 3, key, folder)
    (entry,) = folder.iterdir()
    content = bytearray(entry.read_bytes())
    if damage == "folder":
        entry.unlink()
        entry.with_name(f"{key}-3-folder").mkdir()  # nothing of ours, and cannot be removed as a file
    elif damage == "renamed":
        entry.rename(entry.with_name(f"{key}-3-{'0' * 64}.idx"))
    else:
        content[{"flip": 700_000, "first": 64, "header": 52}.get(damage, -1)] ^= 4
        damaged = {"cut": content[:-1], "longer": content + b"\0", "empty": b""}.get(damage, content)
        entry.write_bytes(damaged)
    array, _ = idx.decode_kept(path, 3, key, folder)
    np.testing.assert_array_equal(array, ARCHIVE)
    np.testing.assert_array_equal(kept_only(monkeypatch, archive)[0], ARCHIVE)
    assert [kept.name for kept in folder.iterdir() if kept.is_file()] == [entry.name]


def test_another_archive_has_another_copy(archive, tmp_path):
    path, key, folder = archive
    idx.decode_kept(path, 3, key, folder)
    other = tmp_path / "other.gz"
    other.write_bytes(gzip.compress(idx_bytes(255 - ARCHIVE), 1))
    np.testing.assert_array_equal(idx.decode_kept(other, 3, idx.sha256(other), folder)[0], 255 - ARCHIVE)
    np.testing.assert_array_equal(idx.decode_kept(path, 3, key, folder)[0], ARCHIVE)


def test_a_folder_that_cannot_be_written_is_no_trouble(archive, tmp_path):
    path, key, _ = archive
    (tmp_path / "in the way").write_text("")
    array, _ = idx.decode_kept(path, 3, key, tmp_path / "in the way" / "kept")
    np.testing.assert_array_equal(array, ARCHIVE)


def test_a_full_disk_leaves_nothing_and_is_no_trouble(archive, monkeypatch):
    path, key, folder = archive

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(idx.os, "replace", full)
    np.testing.assert_array_equal(idx.decode_kept(path, 3, key, folder)[0], ARCHIVE)
    assert list(folder.iterdir()) == []


def test_an_interruption_while_a_copy_is_written_leaves_nothing_and_is_passed_on(archive, monkeypatch):
    path, key, folder = archive

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(idx.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        idx.decode_kept(path, 3, key, folder)
    assert list(folder.iterdir()) == []


def test_the_eight_newest_copies_are_kept(archive):
    path, key, folder = archive
    folder.mkdir()
    for age in range(12):
        (folder / f"old-{age}").write_text("")
        os.utime(folder / f"old-{age}", (1000 - age, 1000 - age))
    idx.decode_kept(path, 3, key, folder)
    names = {entry.name[:5] for entry in folder.iterdir()}
    assert names == {key[:5]} | {f"old-{age}" for age in range(7)}


def test_small_and_plain_files_are_not_kept(tmp_path):
    for name, content in [("small", gzip.compress(idx_bytes(ARCHIVE[:100]))), ("plain", idx_bytes(ARCHIVE))]:
        (tmp_path / name).write_bytes(content)
        idx.decode_kept(tmp_path / name, 3, idx.sha256(tmp_path / name), tmp_path / "kept")
        assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize("more", [0, 1])
def test_what_is_as_large_as_the_bound_is_kept(archive, monkeypatch, more):
    monkeypatch.setattr(idx, "_WORTH_KEEPING", ARCHIVE.nbytes + more)
    path, key, folder = archive
    idx.decode_kept(path, 3, key, folder)
    assert folder.exists() == (more == 0)
