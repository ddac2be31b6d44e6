"""Checkpoints: what comes back is what was saved, bit for bit, or it is refused."""

import errno
import hashlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.files import checkpoint

PRINTS = {"config": "c" * 64, "data": "d" * 64}
EXTRA = {"records": [{"epoch": 1, "val/accuracy": 0.1 + 0.2, "val/loss": float("nan")}], "position": 17}


class Layer(NamedTuple):
    w: Any
    b: Any


class Empty(NamedTuple):
    pass


class Adam(NamedTuple):
    count: Any
    mu: Any
    nu: Any


def a_state(seed: int = 0) -> dict[str, Any]:
    """Every kind of leaf and node that a state may have, the awkward numbers of each dtype among them."""
    rng = np.random.default_rng(seed)
    quiet_nan_with_payload = np.array([0x7FC12345, 0x80000000, 0x00000001, 0x7F800000], np.uint32).view(np.float32)
    params = (
        Layer(rng.normal(size=(3, 4)).astype(np.float32), np.zeros(4, np.float32)),
        Layer(np.eye(2), -np.zeros(2)),
    )
    return {
        "params": params,
        "adam": Adam(np.int32(seed), params, [params, []]),
        "empty": ((), Empty(), {}, None),
        "odd": [quiet_nan_with_payload, np.array(np.nextafter(1, 2)), np.array([2**32 - 1, 0], np.uint32)],
        "half": np.array([1e-7, np.inf], np.float16),
        "bfloat16": np.array([[3.14, -0.0]], ml_dtypes.bfloat16),
        "flags": np.array([True, False]),
        "no_elements": np.zeros((0, 3), np.float32),
        "no_elements_of_its_dtype": np.zeros(0, np.int8),
        "large": np.array(-(2**63), np.int64),
    }


def assert_same_bits(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert (np.asarray(left).dtype, np.shape(left)) == (right.dtype, right.shape)
        assert np.asarray(left).tobytes() == right.tobytes()


def saved(folder: Path, *steps: int) -> Path:
    for step in steps:
        checkpoint.save(folder, step, a_state(step), {**EXTRA, "step": step}, PRINTS)
    return folder


def restore(folder: Path) -> tuple[checkpoint.Restored | None, list[str]]:
    lines: list[str] = []
    return checkpoint.restore(folder, a_state(), PRINTS, lines.append), lines


def reseal(path: Path, **changes: Any) -> None:
    """A manifest that agrees with the files again: what someone who knows the format would forge."""
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.pop("sha256")
    manifest["files"] = {
        name: {"size": (path / name).stat().st_size, "sha256": hashlib.sha256((path / name).read_bytes()).hexdigest()}
        for name in manifest["files"]
        if (path / name).exists()
    }
    manifest |= changes
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_what_comes_back_is_what_was_saved(tmp_path: Path) -> None:
    found, lines = restore(saved(tmp_path / "checkpoints", 7))
    assert found is not None
    assert found.step == 7
    assert lines == []
    assert_same_bits(a_state(7), found.state)
    assert found.extra == {
        "records": [{"epoch": 1, "val/accuracy": 0.1 + 0.2, "val/loss": None}],
        "position": 17,
        "step": 7,
    }


def test_arrays_on_a_device_and_a_template_of_shapes(tmp_path: Path) -> None:
    state = (Layer(jnp.arange(6.0).reshape(2, 3), jnp.ones(3, jnp.bfloat16)), jnp.uint32(3), ())
    checkpoint.save(tmp_path, 1, state, {}, PRINTS)
    found = checkpoint.restore(tmp_path, jax.eval_shape(lambda: state), PRINTS)
    assert found is not None
    assert_same_bits(state, found.state)
    again = jax.device_put(found.state)
    assert_same_bits(jax.jit(lambda tree: tree, donate_argnums=0)(again), found.state)


def test_each_leaf_has_a_buffer_of_its_own(tmp_path: Path) -> None:
    found, _ = restore(saved(tmp_path, 1))
    assert found is not None
    leaves = [leaf for leaf in jax.tree.leaves(found.state) if leaf.size]
    assert all(leaf.base is None or leaf.base.nbytes == leaf.nbytes for leaf in leaves)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(leaves) for b in leaves[:i])


def test_the_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    found, _ = restore(saved(tmp_path / "seeds" / "3" / "checkpoints", 1))
    assert found is not None
    assert found.step == 1


def test_a_manifest_may_be_as_long_as_the_bound_and_no_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (saved(tmp_path, 1) / "1" / "manifest.json").stat().st_size
    monkeypatch.setattr(checkpoint, "MAX_MANIFEST_BYTES", size)
    assert checkpoint.newest_is_whole(tmp_path)
    monkeypatch.setattr(checkpoint, "MAX_MANIFEST_BYTES", size - 1)
    found, (line,) = restore(tmp_path)
    assert found is None
    assert "manifest.json is missing or too large" in line


def test_processes_meet_before_what_they_write_together_after_it_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, list[str]]] = []

    def met(point: str) -> None:
        seen.append((point.rpartition(" ")[2], sorted(p.name for p in tmp_path.rglob("*") if p.suffix == ".json")))

    monkeypatch.setattr(checkpoint, "together", met)
    saved(tmp_path, 1)
    assert [point for point, _ in seen] == ["begun", "written", "sealed"]
    assert seen[0][1] == []
    assert "manifest.json" not in seen[1][1]
    assert "manifest.json" in seen[2][1]


@pytest.mark.parametrize(("arrays", "rest", "fits"), [(1.02, 1, True), (1.0, 1, False), (1.02, 0, False)])
def test_a_disk_needs_room_for_the_arrays_and_for_what_is_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrays: float, rest: int, fits: bool
) -> None:
    state = np.zeros(1 << 18, np.float32)  # a mebibyte
    free = int(arrays * state.nbytes) + rest * (1 << 18)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(1 << 40, 0, free))
    with nullcontext() if fits else pytest.raises(UserError, match="no space left"):
        checkpoint.save(tmp_path, 1, state, {}, PRINTS)
    assert (tmp_path / "1").exists() == fits


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert restore(tmp_path / "absent") == (None, [])
    (tmp_path / "notes").mkdir()
    (tmp_path / "007").mkdir()
    (tmp_path / "3.new.tmp").mkdir()
    assert restore(tmp_path) == (None, [])


def test_nothing_there_is_found_without_orbax(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from mlp_jax.files import checkpoint
assert checkpoint.restore(Path({str(tmp_path)!r}), (), {{}}) is None
assert not [name for name in sys.modules if name.startswith("orbax")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_newest_is_used_and_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 9, 10, 100)
    assert sorted(os.listdir(tmp_path)) == ["10", "100"]
    found, _ = restore(tmp_path)
    assert found is not None
    assert found.step == 100
    checkpoint.save(tmp_path, 101, a_state(), {}, PRINTS, keep=1)
    assert os.listdir(tmp_path) == ["101"]


def test_the_newest_is_whole_until_a_byte_of_it_changes(tmp_path: Path) -> None:
    assert not checkpoint.newest_is_whole(tmp_path)
    saved(tmp_path, 9, 10)
    assert checkpoint.newest_is_whole(tmp_path)
    (tmp_path / "10" / "extra.json").write_text("{}")
    assert not checkpoint.newest_is_whole(tmp_path)


def test_later_steps_and_leftovers_go_with_the_next_save(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    shutil.copytree(tmp_path / "2", tmp_path / "5")  # a damaged one: its name is not its step
    shutil.copytree(tmp_path / "2", tmp_path / "4.new.tmp")
    (tmp_path / "1.old.tmp").symlink_to(tmp_path / "1")
    (tmp_path / "notes").mkdir()
    found, lines = restore(tmp_path)
    assert found is not None
    assert found.step == 2
    assert [f"{tmp_path}/5:" in line and "is of step 2" in line for line in lines] == [True]
    saved(tmp_path, 3)
    assert sorted(os.listdir(tmp_path)) == ["2", "3", "notes"]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    (tmp_path / "2" / "manifest.json").write_text("{}")
    saved(tmp_path, 2)
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]
    found, lines = restore(tmp_path)
    assert found is not None
    assert (found.step, lines) == (2, [])


def test_equal_states_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        saved(tmp_path / name, 1)
    ours, theirs = ([file.read_bytes() for file in files_of(tmp_path / name)] for name in ("a", "b"))
    assert ours == theirs


def test_the_manifest_names_every_file_with_its_sum(tmp_path: Path) -> None:
    path = saved(tmp_path, 1) / "1"
    manifest = json.loads((path / "manifest.json").read_text())
    assert {path / name for name in manifest["files"]} | {path / "manifest.json"} == set(files_of(path))
    for name, entry in manifest["files"].items():
        content = (path / name).read_bytes()
        assert entry == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert (manifest["step"], manifest["fingerprints"], manifest["format"]) == (1, PRINTS, 1)
    assert "['params'][0].w float32 (3, 4)" in manifest["leaves"]


def test_no_thread_and_no_print_is_left_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())
    saved(tmp_path, 1, 2)
    restore(tmp_path)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
    assert capfd.readouterr() == ("", "")


# Damage. Each row makes the newest of two checkpoints unusable; what the line says of it.


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def link(path: Path) -> None:
    target = path.parents[2] / "outside"
    path.rename(target)
    path.symlink_to(target)


def folder_for_file(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no manifest": (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing or"),
    "cut manifest": (lambda path: (path / "manifest.json").write_bytes(b'{"files": {'), "manifest.json is not JSON"),
    "empty manifest": (lambda path: (path / "manifest.json").write_bytes(b""), "manifest.json is not JSON"),
    "bytes for text": (lambda path: (path / "manifest.json").write_bytes(b"\xff" * 99), "manifest.json is not JSON"),
    "deep manifest": (lambda path: (path / "manifest.json").write_bytes(b"[" * 10**6), "manifest.json is not JSON"),
    "list for manifest": (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is not a JSON object"),
    "edited manifest": (lambda path: (path / "manifest.json").write_text("{}"), "differs from its own sum"),
    "huge manifest": (lambda path: os.truncate(path / "manifest.json", 1 << 33), "or too large"),
    "no extra": (lambda path: (path / "extra.json").unlink(), "'extra.json' is missing"),
    "cut extra": (lambda path: cut(path / "extra.json"), "'extra.json' differs from its sum"),
    "other extra": (lambda path: (path / "extra.json").write_text("{}"), "'extra.json' differs from its sum"),
    "one more file": (lambda path: (path / "arrays" / "x").write_text(""), "'arrays/x' does not belong to it"),
    "no arrays": (lambda path: shutil.rmtree(path / "arrays"), "is missing"),
    "an array missing": (lambda path: (path / "arrays" / "float32" / "0").unlink(), "'arrays/float32/0' is missing"),
    "an array cut": (lambda path: cut(path / "arrays" / "float32" / "0"), "'arrays/float32/0' differs from its sum"),
    "a link": (lambda path: link(path / "extra.json"), "'extra.json' is neither a file nor a folder"),
    "a link for a folder": (lambda path: link(path / "arrays"), "'arrays' is neither a file nor a folder"),
    "a pipe": (lambda path: pipe(path / "extra.json"), "'extra.json' is neither a file nor a folder"),
    "a folder for a file": (lambda path: folder_for_file(path / "extra.json"), "'extra.json' is missing"),
    "a file for the folder": (lambda path: (shutil.rmtree(path), path.write_text("")), "it is not a folder"),
    "a link for the checkpoint": (lambda path: (shutil.rmtree(path), path.symlink_to("1")), "it is not a folder"),
    "nothing inside": (lambda path: (shutil.rmtree(path), path.mkdir()), "manifest.json is missing or"),
    # The rest is forged: its sums agree.
    "files escape": (lambda path: reseal(path, files={"../1/extra.json": {}}), "'../1/extra.json' is missing"),
    "files are no table": (lambda path: reseal(path, files=3), "manifest.json lists no files"),
    "other step": (lambda path: reseal(path, step=3), "manifest.json is of step 3"),
    "step is text": (lambda path: reseal(path, step="2"), "manifest.json is of step '2'"),
    "extra is a list": (lambda path: ((path / "extra.json").write_text("[]"), reseal(path)), "is not a JSON object"),
    "extra is no JSON": (lambda path: ((path / "extra.json").write_text("nan"), reseal(path)), "is not JSON"),
    "arrays too long": (
        lambda path: (
            (path / "arrays/float32/.zarray").write_text(
                (path / "arrays/float32/.zarray").read_text().replace('"shape":[', '"shape":[9999999999')
            ),
            reseal(path),
        ),
        "the arrays are not the ones",
    ),
    "arrays of nothing": (
        lambda path: ((path / "arrays/float32/.zarray").write_text("{}"), reseal(path)),
        "the arrays cannot be read: ",
    ),
    "a pickle": (
        lambda path: ((path / "arrays/float32/.zarray").write_bytes(pickle.dumps(pytest.fail)), reseal(path)),
        "the arrays cannot be read: ",
    ),
    "numbers that cannot be unpacked": (
        lambda path: (
            [(path / f"arrays/{dtype}/0").write_bytes(b"numbers") for dtype in ("float32", "int32")],
            reseal(path),
        ),
        "the arrays cannot be read: ",
    ),
}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("two") / "checkpoints", 1, 2)


@pytest.fixture
def copy_of_two(two: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two, tmp_path / "checkpoints")


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_one_is_named_and_the_older_used(
    copy_of_two: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    damage, expected = DAMAGE[name]
    damage(copy_of_two / "2")
    found, lines = restore(copy_of_two)
    assert found is not None
    assert found.step == 1
    assert_same_bits(a_state(1), found.state)
    assert len(lines) == 1
    assert lines[0].startswith(f"{copy_of_two}/2: damaged checkpoint not used: ")
    assert expected in lines[0]
    assert "\n" not in lines[0]
    assert capfd.readouterr() == ("", "")


def test_the_arrays_are_those_that_orbax_reads(two: Path) -> None:
    """Which documents the files; Orbax's own metadata is not needed to read a checkpoint."""
    import orbax.checkpoint as ocp

    read = ocp.PyTreeCheckpointHandler(use_ocdbt=False).restore(two / "2" / "arrays")
    leaves = jax.tree.leaves(a_state(2))
    for dtype, vector in read.items():
        expected = [np.ravel(np.asarray(leaf)) for leaf in leaves if np.dtype(leaf.dtype).name == dtype]
        np.testing.assert_array_equal(vector, np.concatenate(expected))
    found, _ = restore(two)
    assert found is not None
    assert_same_bits(a_state(2), found.state)


def test_where_all_are_damaged_there_is_none(copy_of_two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for step in ("1", "2"):
        cut(copy_of_two / step / "arrays" / "int32" / "0")
    assert checkpoint.restore(copy_of_two, a_state(), PRINTS) is None
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"{copy_of_two}/2", f"{copy_of_two}/1"]


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_flipped_bit_is_never_other_numbers(copy_of_two: Path, count: int) -> None:
    """Bits of every file in turn, at places drawn by a seed; the older checkpoint is used, with the older numbers."""
    rng = np.random.default_rng(count)
    files = files_of(copy_of_two / "2")
    for i in range(count):
        path = files[i % len(files)]
        content = path.read_bytes()
        place = int(rng.integers(8 * len(content)))
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        found, lines = restore(copy_of_two)
        assert found is not None
        assert_same_bits(a_state(found.step), found.state)
        assert found.extra["step"] == found.step
        assert len(lines) == (found.step == 1)
        if path.name != "manifest.json":  # there, a space may become another one
            assert found.step == 1
        path.write_bytes(content)


# Whole, but of another run: no damage, and nothing to fall back from.


@pytest.mark.parametrize("name", ["config", "data"])
def test_another_fingerprint_is_refused_by_name(two: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"checkpoints/2: was written with another {name}; --config.resume=never"):
        checkpoint.restore(two, a_state(), PRINTS | {name: "other"})


def test_only_the_fingerprints_given_are_compared(two: Path) -> None:
    found = checkpoint.restore(two, a_state(), {"data": PRINTS["data"]})
    assert found is not None
    assert found.step == 2
    with pytest.raises(UserError, match="another code"):
        checkpoint.restore(two, a_state(), {"code": "1"})


@pytest.mark.parametrize("written", [3, None, [], "config"])
def test_forged_fingerprints_are_refused(copy_of_two: Path, written: object) -> None:
    reseal(copy_of_two / "2", fingerprints=written)
    with pytest.raises(UserError, match="another config"):
        restore(copy_of_two)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("flags", np.zeros(2, np.int8), r"holds \['flags'\] bool \(2,\) where \['flags'\] int8 \(2,\) is needed"),
        ("half", np.zeros((2, 1), np.float16), r"where \['half'\] float16 \(2, 1\) is needed"),
        ("large", (), r"holds \['large'\] int64 \(\) where"),
        ("zusatz", np.zeros(1), r"holds nothing where \['zusatz'\] float64 \(1,\) is needed"),
    ],
)
def test_other_shapes_and_dtypes_are_refused(two: Path, key: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        checkpoint.restore(two, a_state() | {key: value}, PRINTS)


@pytest.mark.parametrize("written", [3, None, [], ["x"]])
def test_forged_leaves_are_refused(copy_of_two: Path, written: object) -> None:
    reseal(copy_of_two / "2", leaves=written)
    with pytest.raises(UserError, match="is needed"):
        restore(copy_of_two)


def test_another_format_is_refused(copy_of_two: Path) -> None:
    reseal(copy_of_two / "2", format=2)
    with pytest.raises(UserError, match="checkpoints/2: has format 2, this version reads 1"):
        restore(copy_of_two)


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("mine")
    with pytest.raises(UserError, match="checkpoints: cannot be read: not a directory"):
        restore(tmp_path / "checkpoints")
    with pytest.raises(UserError, match="checkpoints/1: the checkpoint cannot be written: file exists"):
        saved(tmp_path / "checkpoints", 1)


# A save that fails leaves what was there.


def refuse(*arguments: Any, **named: Any) -> Any:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def orbax_refuses(*arguments: Any, **named: Any) -> Any:
    logging.getLogger("absl").error("a traceback of many lines")
    raise ValueError("RESOURCE_EXHAUSTED: Error writing local file [os_error_code='28'] [tensorstore_spec='{}']")


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize(
    ("place", "stand_in", "message"),
    [
        ("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10, 10, 0), "no space left on device"),
        ("os.fsync", refuse, "read-only file system"),
        ("os.rename", refuse, "read-only file system"),
        ("orbax.checkpoint.PyTreeCheckpointHandler.save", orbax_refuses, "no space left on device"),
    ],
)
def test_a_refused_save_leaves_the_earlier_ones(
    copy_of_two: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: int,
    place: str,
    stand_in: Any,
    message: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place, stand_in)
        with pytest.raises(UserError, match=f"checkpoints/{step}: the checkpoint cannot be written: {message}"):
            saved(copy_of_two, step)
    assert sorted(os.listdir(copy_of_two)) == ["1", "2"]
    found, lines = restore(copy_of_two)
    assert found is not None
    assert (found.step, lines) == (2, [])
    assert caplog.text == ""
    assert not logging.getLogger("absl").disabled


def test_an_interrupted_save_leaves_the_earlier_ones(copy_of_two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", interrupt)
        with pytest.raises(KeyboardInterrupt):
            saved(copy_of_two, 3)
    assert sorted(os.listdir(copy_of_two)) == ["1", "2"]


def test_an_unexpected_failure_of_orbax_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **named: Any) -> None:
        raise ValueError("something else")

    monkeypatch.setattr("orbax.checkpoint.PyTreeCheckpointHandler.save", fail)
    with pytest.raises(ValueError, match="something else"):
        saved(tmp_path, 1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("died_at", range(8))
def test_a_kill_at_any_point_of_a_save_leaves_a_whole_one(
    copy_of_two: Path, monkeypatch: pytest.MonkeyPatch, died_at: int
) -> None:
    """The process ends at the n-th change of the folder: nothing after it happens, not even the cleaning up."""
    changes = iter(range(100))

    class Killed(BaseException):
        pass

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(changes) >= died_at:
                raise Killed
            return function(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("mkdir", "rename", "rmdir"):
            patch.setattr(os, name, mortal(getattr(os, name)))
        patch.setattr(shutil, "rmtree", mortal(shutil.rmtree))
        with suppress(Killed):
            checkpoint.save(copy_of_two, 3, a_state(3), {"step": 3}, PRINTS)
    found, lines = restore(copy_of_two)
    assert found is not None
    assert found.step in (2, 3)
    assert lines == []
    assert_same_bits(a_state(found.step), found.state)
    saved(copy_of_two, 4)
    assert sorted(os.listdir(copy_of_two)) in (["2", "4"], ["3", "4"])


def test_the_files_are_on_the_disk_before_the_name(copy_of_two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: set[int] = set()
    fsync, rename = os.fsync, os.rename

    def note(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def check(old: Path, new: Path) -> None:
        if Path(new).name == "3":
            parts = [old, *old.rglob("*")]
            assert {part.stat().st_ino for part in parts} <= synced
            synced.clear()
        else:  # an older one goes only after the new name is on the disk
            assert synced == {copy_of_two.stat().st_ino}
        rename(old, new)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "rename", check)
    saved(copy_of_two, 3)
    assert sorted(os.listdir(copy_of_two)) == ["2", "3"]


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A disk of 4 MiB: one line, the earlier checkpoint whole, and the next one saved once there is space."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"cannot mount a small disk: {mount.stderr.strip()}")
    try:
        state = np.random.default_rng(0).normal(size=150_000)
        checkpoint.save(disk / "checkpoints", 1, state, {}, PRINTS)
        filler = disk / "filler"
        for left in (0, 100_000, 1_300_000):
            free = shutil.disk_usage(disk).free
            filler.write_bytes(bytes(max(free - left, 0)))
            with pytest.raises(UserError, match="checkpoints/2: the checkpoint cannot be written: no space left"):
                checkpoint.save(disk / "checkpoints", 2, state, {}, PRINTS)
            assert os.listdir(disk / "checkpoints") == ["1"]
            found = checkpoint.restore(disk / "checkpoints", state, PRINTS)
            assert found is not None
            assert_same_bits(state, found.state)
            filler.unlink()
        checkpoint.save(disk / "checkpoints", 2, state, {}, PRINTS)
        assert capfd.readouterr() == ("", "")
    finally:
        subprocess.run(["umount", disk], check=True)
