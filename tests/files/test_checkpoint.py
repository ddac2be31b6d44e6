"""Checkpoints: what comes back is what was saved, bit for bit, or it is refused."""

import errno
import io
import json
import os
import pickle
import re
import shutil
import zipfile
from contextlib import suppress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.files import checkpoint

PRINTS = {"config": "c" * 64, "data": "d" * 64}
EXTRA = {"records": [{"epoch": 1, "val/accuracy": 0.1 + 0.2, "val/loss": float("nan")}], "position": 17}


class Layer(NamedTuple):
    w: Any
    b: Any


def a_state(seed=0):
    """Every kind of leaf and node that a state may have, the awkward numbers of each dtype among them."""
    rng = np.random.default_rng(seed)
    params = (
        Layer(rng.normal(size=(3, 4)).astype(np.float32), np.zeros(4, np.float32)),
        Layer(np.asfortranarray(rng.normal(size=(2, 3))), -np.zeros(2)),
    )
    return {
        "params": params,
        "adam": (np.int32(seed), params, [params, []]),
        "empty": ((), {}, None),
        "nan with a payload": np.array([0x7FC12345, 0x80000000, 0x00000001], np.uint32).view(np.float32),
        "scalar": np.array(np.nextafter(1, 2)),
        "half": np.array([1e-7, np.inf], np.float16),
        "flags": np.array([True, False]),
        "no_elements": np.zeros((0, 3), np.float32),
        "large": np.array(-(2**63), np.int64),
    }


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (np.asarray(left).dtype, np.shape(left)) == (right.dtype, right.shape)
        assert np.asarray(left).tobytes() == right.tobytes()


def saved(folder, *steps):
    for step in steps:
        checkpoint.save(folder, step, a_state(step), {**EXTRA, "step": step}, PRINTS)
    return folder


def restored(folder):
    """What is restored, which has to be as it was saved, and the lines about what was not."""
    lines = []
    found = checkpoint.restore(folder, a_state(), PRINTS, lines.append)
    assert_same_bits(a_state(found.step), found.state)
    assert found.extra["step"] == found.step
    return found, lines


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("two") / "checkpoints", 1, 2)


@pytest.fixture
def copy_of_two(two, tmp_path):
    return shutil.copytree(two, tmp_path / "checkpoints")


def test_what_comes_back_is_what_was_saved(tmp_path):
    found, lines = restored(saved(tmp_path / "seeds" / "3" / "checkpoints", 7))
    assert (found.step, lines) == (7, [])
    records = [{"epoch": 1, "val/accuracy": 0.1 + 0.2, "val/loss": None}]
    assert found.extra == {"records": records, "position": 17, "step": 7}


def test_arrays_on_a_device_come_back_by_a_template_of_shapes_and_can_be_donated(tmp_path):
    state = (Layer(jnp.arange(6.0).reshape(2, 3), jnp.ones(3, jnp.float16)), jnp.uint32(3), ())
    checkpoint.save(tmp_path, 1, state, {}, PRINTS)
    found = checkpoint.restore(tmp_path, jax.eval_shape(lambda: state), PRINTS)
    assert_same_bits(state, found.state)
    again = jax.device_put(found.state)
    assert_same_bits(jax.jit(lambda tree: tree, donate_argnums=0)(again), found.state)


def test_each_leaf_has_a_buffer_of_its_own(two):
    leaves = [leaf for leaf in jax.tree.leaves(restored(two)[0].state) if leaf.size]
    assert all(leaf.flags.writeable for leaf in leaves)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(leaves) for b in leaves[:i])


def test_numpy_alone_reads_every_leaf_by_its_path(two):
    with np.load(two / "2.npz", allow_pickle=False) as arrays:
        assert {"params/0/w", "params/1/b", "adam/0", "adam/2/0/1/w", "flags"} < set(arrays)
        np.testing.assert_array_equal(arrays["adam/1/0/w"], a_state(2)["params"][0].w)
        about = json.loads(arrays["checkpoint.json"])
    assert (about["step"], about["fingerprints"], about["extra"]["position"]) == (2, PRINTS, 17)


def test_equal_states_are_equal_files(tmp_path, two):
    assert (saved(tmp_path, 2) / "2.npz").read_bytes() == (two / "2.npz").read_bytes()


def test_where_nothing_is_none_is_restored(tmp_path):
    for name in ("notes", "007.npz", "3.npz.old", "x.npz", ".3.npz.tmp"):
        (tmp_path / name).write_text("")
    for folder in (tmp_path, tmp_path / "absent"):
        assert checkpoint.restore(folder, a_state(), PRINTS) is None
        assert not checkpoint.newest_is_whole(folder)


def test_the_newest_is_used_and_two_are_kept(tmp_path):
    assert sorted(os.listdir(saved(tmp_path, 9, 10, 100))) == ["10.npz", "100.npz"]
    assert restored(tmp_path)[0].step == 100
    assert checkpoint.newest_is_whole(tmp_path)
    assert checkpoint.newest_is_whole(tmp_path, 100)
    assert not checkpoint.newest_is_whole(tmp_path, 101)


def test_later_steps_and_leftovers_go_with_the_next_save_and_the_same_step_is_replaced(copy_of_two):
    shutil.copy(copy_of_two / "2.npz", copy_of_two / "5.npz")
    (copy_of_two / ".4.npz.tmp").symlink_to(copy_of_two / "1.npz")
    (copy_of_two / "notes").mkdir()
    found, lines = restored(copy_of_two)
    assert found.step == 2
    assert lines == [f"{copy_of_two}/5.npz: damaged checkpoint not used: checkpoint.json is not of step 5"]
    (copy_of_two / "2.npz").write_bytes(b"")
    saved(copy_of_two, 2)
    assert sorted(os.listdir(copy_of_two)) == ["1.npz", "2.npz", "notes"]
    assert restored(copy_of_two)[1] == []


# Damage. Each row makes the newest of two checkpoints unusable; what the line says of it.


def forge(path, packed=zipfile.ZIP_STORED, **changes):
    """The file with other entries (None drops one) and right sums: what someone who knows the format would make."""
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()} | changes
    with zipfile.ZipFile(path, "w", packed) as new:
        for name, content in entries.items():
            if content is not None:
                new.writestr(name, content)


def about(**changes):
    """Forges what checkpoint.json says."""

    def change(path):
        with zipfile.ZipFile(path) as file:
            said = json.loads(file.read("checkpoint.json"))
        forge(path, **{"checkpoint.json": json.dumps(said | changes).encode()})

    return change


def entry(name, content):
    return lambda path: forge(path, **{name: content})


def npy(dtype="<f8", shape="()", data=b"", version=1):
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little") + header + data


def replace(old, new):
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new, 1))


DAMAGE = {
    "empty": (lambda path: path.write_bytes(b""), "file is not a zip file"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "file is not a zip file"),
    "without its head": (lambda path: path.write_bytes(path.read_bytes()[99:]), "invalid argument"),
    "other numbers": (replace(bytes(16), bytes(15) + b"\1"), "bad CRC-32 for file '.*npy'"),
    "other text": (replace(b'"position": 17', b'"position": 18'), "bad CRC-32 for file 'checkpoint.json'"),
    "a link": (lambda path: (path.rename(path.with_name("x")), path.symlink_to("x")), "not a regular file"),
    "a pipe": (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(pytest.fail)), "file is not a zip file"),
    # The rest is forged: its sums agree.
    "packed": (lambda path: forge(path, zipfile.ZIP_DEFLATED), "entries are not stored"),
    "no text": (entry("checkpoint.json", None), "expecting value"),
    "a list for text": (entry("checkpoint.json", b"[]"), "is not of step 2"),
    "another step": (about(step="2"), "is not of step 2"),
    "extra is a list": (about(extra=[]), "is not of step 2"),
    "fingerprints are text": (about(fingerprints="config"), "is not of step 2"),
    "no array": (entry("scalar.npy", b"numbers"), "magic string"),
    "another version": (entry("scalar.npy", npy(version=2)), "another version of .npy"),
    "an array too long": (entry("scalar.npy", npy(shape="(99999999999,)")), "not as long as its header"),
    "an array of objects": (
        entry("scalar.npy", npy("|O", data=pickle.dumps(pytest.fail))),
        "not as long as its header",
    ),
    "a header without an end": (
        entry("scalar.npy", npy(shape="(" * 9)),
        "EOF in multi-line statement|never closed|malformed",
    ),
    "a header of code": (entry("scalar.npy", npy(shape="__import__('os').abort()")), "malformed"),
    "the other byte order": (entry("scalar.npy", npy(">f8", data=bytes(8))), "its arrays are not those"),
    "one array more": (entry("more.npy", npy(shape="(0,)")), "its arrays are not those"),
    "one array less": (entry("scalar.npy", None), "its arrays are not those"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_one_is_named_and_the_older_used(copy_of_two, name, capfd):
    damage, expected = DAMAGE[name]
    damage(copy_of_two / "2.npz")
    assert not checkpoint.newest_is_whole(copy_of_two)
    found, (line,) = restored(copy_of_two)
    assert found.step == 1
    assert line.startswith(f"{copy_of_two}/2.npz: damaged checkpoint not used: ")
    assert re.search(expected, line)
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")


def test_where_all_are_damaged_each_is_named_and_none_is_restored(copy_of_two, capsys):
    for path in copy_of_two.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert checkpoint.restore(copy_of_two, a_state(), PRINTS) is None
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{copy_of_two}/2.npz", f"{copy_of_two}/1.npz"]


@pytest.mark.parametrize("count", [200, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_never_other_numbers(copy_of_two, count):
    """At places drawn by a seed, every fourth in the zip's directory, where names, sums and lengths stand."""
    path = copy_of_two / "2.npz"
    whole = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(whole)) as file:
        directory = file.start_dir
    rng = np.random.default_rng(count)
    used = []
    for number in range(count):
        place = int(rng.integers(0 if number % 4 else 8 * directory, 8 * len(whole)))
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        found, lines = restored(copy_of_two)  # which compares all bits
        assert len(lines) == (found.step == 1)
        used.append(found.step)
    assert used.count(1) > count / 2


# Whole, but of another run: no damage, and nothing to fall back from.


@pytest.mark.parametrize("name", ["config", "data", "code"])
def test_another_fingerprint_is_refused_by_name(two, name):
    with pytest.raises(UserError, match=f"2.npz: was written with another {name}; --config.resume=never starts over$"):
        checkpoint.restore(two, a_state(), {**PRINTS, name: "other"})
    assert checkpoint.restore(two, a_state(), {}) is not None  # only those given are compared


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("flags", np.zeros(2, np.int8), "flags: bool (2,) where flags: int8 (2,) is needed; --config.resume=never"),
        ("half", np.zeros((2, 1), np.float16), "half: float16 (2,) where half: float16 (2, 1) is needed"),
        ("large", (), "large: int64 () where nan with a payload: float32 (3,) is needed"),
        ("zusatz", np.zeros(1), "nothing where zusatz: float64 (1,) is needed"),
    ],
)
def test_other_shapes_and_dtypes_are_refused(two, key, value, message):
    with pytest.raises(UserError, match=re.escape(f"2.npz: holds {message}")):
        checkpoint.restore(two, a_state() | {key: value}, PRINTS)


def test_checkpoints_of_an_older_version_are_refused(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "manifest.json").write_text("{}")
    assert not checkpoint.newest_is_whole(tmp_path)
    with pytest.raises(UserError, match=r"was written by an older version.*; --config\.resume=never starts over$"):
        checkpoint.restore(tmp_path, a_state(), PRINTS)


# A save that fails leaves what was there.


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_a_refused_save_leaves_the_earlier_ones(copy_of_two, monkeypatch, step, call):
    def refuse(*arguments, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (copy_of_two / ".1.npz.tmp").write_text("of a killed process")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(UserError, match=f"checkpoints/{step}.npz: cannot be written: read-only file system"):
            saved(copy_of_two, step)
    assert {"1.npz", "2.npz"} <= set(os.listdir(copy_of_two))
    assert restored(copy_of_two)[1] == []


@pytest.mark.parametrize("died_at", range(8))
def test_a_kill_at_any_point_of_a_save_leaves_a_whole_one(copy_of_two, monkeypatch, died_at):
    """The process ends at the n-th call that changes the folder: nothing after it happens, not even a cleaning up."""
    calls = iter(range(100))

    class Killed(BaseException):
        pass

    def mortal(function):
        def call(*arguments, **named):
            if next(calls) >= died_at:
                raise Killed
            return function(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("mkdir", "open", "fsync", "replace", "unlink"):
            patch.setattr(os, name, mortal(getattr(os, name)))
        with suppress(Killed):
            saved(copy_of_two, 3)
    found, lines = restored(copy_of_two)
    assert (found.step in (2, 3), lines) == (True, [])
    saved(copy_of_two, 4)
    assert sorted(os.listdir(copy_of_two)) == [f"{found.step}.npz", "4.npz"]
