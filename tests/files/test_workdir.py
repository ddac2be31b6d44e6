"""The folder of a run: files whole or not at all, strict JSON, one process at a time."""

import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from mlp_jax.errors import UserError
from mlp_jax.files import workdir

HOLDER = """
import sys
from pathlib import Path
from mlp_jax.files import workdir
with workdir.lock(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""
FIELDS = {"seed": 1, "rates": [0.1, 1e-300], "hidden_sizes": [8, 4], "a": {"z": None, "b": "é"}}


@pytest.fixture
def read_only():
    """A folder that this process may read and not write, also where the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.setresuid(65534, 65534, 0)
        try:
            yield folder
        finally:
            if root:
                os.setresuid(0, 0, 0)
            folder.chmod(0o755)


def locked(folder):
    with workdir.lock(folder):
        return True


def test_create_makes_parents_and_accepts_what_is_there(tmp_path):
    for _ in range(2):
        workdir.create(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_create_names_the_file_in_the_way(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=rf"workdir: .*{name} cannot be made: a file is in the way$"):
        workdir.create(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (workdir.create, " cannot be written to; give a folder of your own"),
        (lambda folder: workdir.create(folder / "new"), "/new cannot be made: permission denied"),
        (locked, " cannot be locked: permission denied"),
        (lambda folder: workdir.write_json(folder / "x.json", {}), "/x.json: cannot be written: permission denied"),
        (lambda folder: workdir.append_jsonl(folder / "x.jsonl", {}), "/x.jsonl: cannot be written: permission denied"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named(read_only, act, words):
    with pytest.raises(UserError, match=re.escape(f"{read_only}{words}") + "$"):
        act(read_only)


def test_a_second_process_is_told_until_the_first_is_killed(tmp_path):
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    first = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match=f"workdir: {tmp_path} is in use by another process"):
        locked(tmp_path)
    first.kill()
    first.communicate()
    assert locked(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(".lock", b"")]


def test_the_lock_is_not_handed_to_programs_that_the_run_starts(tmp_path):
    with workdir.lock(tmp_path):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        child.stdin.write(b"it runs\n")
        child.stdin.flush()
        child.stdout.readline()
    assert locked(tmp_path)  # though the child is alive
    child.communicate()


def test_planted_links_lead_no_writing_out_of_the_folder(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (".lock", ".x.json.tmp", "y.json"):
        (tmp_path / name).symlink_to(victim)
    with pytest.raises(UserError, match="cannot be locked"):
        locked(tmp_path)
    with pytest.raises(UserError, match=r"x\.json: cannot be written"):
        workdir.write_json(tmp_path / "x.json", 1)
    workdir.write_json(tmp_path / "y.json", 1)
    assert victim.read_text() == "mine"


def test_json_is_strict_sorted_and_ends_with_a_newline(tmp_path):
    odd = [float("inf"), -float("inf"), (1, float("nan")), np.float64("nan"), np.int32(3), np.array(4), np.bool_(True)]
    workdir.write_json(tmp_path / "x.json", {"b": odd, "a": np.float32(0.5), "d": "é\udcff"})
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n")
    value = json.loads(text, parse_constant=pytest.fail)
    assert value == {"a": 0.5, "b": [None, None, [1, None], None, 3, 4, True], "d": "é\udcff"}
    assert list(value) == sorted(value)


def test_floats_come_back_bit_for_bit(tmp_path):
    values = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
    values = [float(value) for value in values[np.isfinite(values)]] + [-0.0, 5e-324, 1.7976931348623157e308]
    workdir.write_json(tmp_path / "x.json", values)
    assert np.array(workdir.read_json(tmp_path / "x.json")).tobytes() == np.array(values).tobytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.json"
    workdir.write_json(path, 1)
    with pytest.raises(TypeError):
        workdir.write_json(path, {"x": object()})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"x\.json: cannot be written: no space left on device"):
        workdir.write_json(path, 2)
    assert workdir.read_json(path) == 1
    assert os.listdir(tmp_path) == ["x.json"]


def test_the_new_content_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def note(descriptor):
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "replace", lambda old, new: (events.append("replace"), replace(old, new)))
    workdir.write_bytes(tmp_path / "x", b"12345")
    assert events == [5, "replace", "folder"]


def test_lines_are_rewritten_whole_and_appended(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert workdir.read_lines(path) == []
    workdir.write_jsonl(path, [{"epoch": 1}, {"epoch": 2, "val/loss": float("nan")}])
    workdir.append_jsonl(path, {"epoch": 3, "a": 0.5})
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2, "val/loss": null}\n{"a": 0.5, "epoch": 3}\n'
    for added, words in (("[]\n", "holds no JSON object"), ('{"epo', "line 2 is not JSON")):
        path.write_text(f'{{"epoch": 1}}\n{added}')
        with pytest.raises(UserError, match=rf"metrics\.jsonl: {words}"):
            workdir.read_lines(path)
    workdir.write_jsonl(path, [{"epoch": 1}])
    assert workdir.read_lines(path) == [{"epoch": 1}]


BROKEN = [b"", b"{", b'{"a": NaN}', b"[-Infinity]", b"\xff\xfe", b"[" * 100_000, b"1 2", b'{"a": 1,}', b"9" * 9999]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_json_is_one_line(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json: is damaged, not JSON") as error:
        workdir.read_json(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def _sparse(path):
    path.touch()
    os.truncate(path, workdir.LARGEST + 1)


@pytest.mark.parametrize("read", [workdir.read_json, workdir.read_lines])
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "it is not a regular file"),  # reading it would wait for ever
        (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),  # and this would fill the memory
        (_sparse, "it is larger than 1073741824 bytes"),
        (os.mkdir, "is a directory"),
    ],
)
def test_what_is_no_file_of_a_sensible_size_is_not_read(read, make, words, tmp_path):
    make(tmp_path / "data.json")
    with pytest.raises(UserError, match=f"data.json: cannot be read: {words}"):
        read(tmp_path / "data.json")


def test_a_file_that_is_not_there_is_named_unless_it_may_be_absent(tmp_path):
    assert workdir.read_if_there(tmp_path / "best.json") == {}
    with pytest.raises(UserError, match=r"holds no run: it has no config\.json"):
        workdir.read_config(tmp_path)
    with pytest.raises(UserError, match=r"data\.json: cannot be read: no such file or directory"):
        workdir.read_sealed(tmp_path / "data.json")


@pytest.mark.parametrize("read", [workdir.read_sealed, workdir.read_if_there])
def test_a_value_that_is_no_object_is_refused(tmp_path, read):
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json: holds no JSON object"):
        read(tmp_path / "config.json")


def test_a_sealed_file_keeps_the_order_of_its_fields_and_ends_with_their_sum(tmp_path):
    path, plain = tmp_path / "a.json", json.dumps(FIELDS, indent=2)
    workdir.write_sealed(path, FIELDS)
    assert path.read_text().startswith(plain.removesuffix("\n}") + ',\n  "sha256": "')
    assert workdir.read_sealed(path) == FIELDS
    path.write_text(plain.replace('"seed": 1', '"seed": 2'))  # as written by hand
    assert workdir.read_sealed(path) == FIELDS | {"seed": 2}


def test_a_flipped_bit_of_a_sealed_file_is_never_other_fields(tmp_path):
    path, refused = tmp_path / "a.json", 0
    workdir.write_sealed(path, FIELDS)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            assert (
                workdir.read_sealed(path).items() >= FIELDS.items()
            )  # a space became another, or the sum lost its name
        except UserError:
            refused += 1
    assert refused > 6 * len(whole)
    path.write_bytes(whole.replace(b'"seed": 1', b'"seed": 2'))
    edited = 'differs from its own sum; restore it, or remove its last field "sha256" to take it as it is'
    with pytest.raises(UserError, match=f"a.json: is damaged or was edited: it {edited}"):
        workdir.read_sealed(path)
