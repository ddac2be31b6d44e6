"""The folder of a run: files whole or not at all, strict JSON, one process at a time."""

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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


@pytest.fixture
def read_only() -> Iterator[Path]:
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


def test_create_makes_parents_and_accepts_what_is_there(tmp_path: Path) -> None:
    workdir.create(tmp_path / "a" / "b")
    workdir.create(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_create_names_the_file_in_the_way(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=rf"workdir: .*{name} cannot be made: a file is in the way$"):
        workdir.create(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(read_only: Path) -> None:
    with pytest.raises(UserError, match=f"{read_only} cannot be written to"):
        workdir.create(read_only)
    with pytest.raises(UserError, match=f"{read_only}/new cannot be made: permission denied"):
        workdir.create(read_only / "new")
    with pytest.raises(UserError, match=f"{read_only} cannot be locked: permission denied"), workdir.lock(read_only):
        pass
    with pytest.raises(UserError, match=r"summary\.json: cannot be written: permission denied"):
        workdir.write_json(read_only / "summary.json", {})
    with pytest.raises(UserError, match=r"metrics\.jsonl: cannot be written: permission denied"):
        workdir.append_jsonl(read_only / "metrics.jsonl", {})


def test_a_second_process_is_told_until_the_first_is_killed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    first = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match=f"workdir: {tmp_path} is in use by another process"), workdir.lock(tmp_path):
        pass
    first.send_signal(signal.SIGKILL)
    first.communicate()
    with workdir.lock(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert (tmp_path / ".lock").read_bytes() == b""


def test_the_lock_is_not_handed_to_programs_that_the_run_starts(tmp_path: Path) -> None:
    with workdir.lock(tmp_path):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(b"it runs\n")
        child.stdin.flush()
        child.stdout.readline()
    with workdir.lock(tmp_path):  # though the child is alive
        child.communicate()


def test_errors_inside_the_lock_pass_through(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError), workdir.lock(tmp_path):
        raise BlockingIOError


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot be locked"), workdir.lock(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_json_is_strict_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    value = {
        "b": float("nan"),
        "a": [float("inf"), -float("inf"), 0.1, (1, float("nan"))],
        "c": np.float32(0.5),
        "d": "é\udcff",
    }
    workdir.write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [None, None, 0.1, [1, None]],
        "b": None,
        "c": 0.5,
        "d": "é\udcff",
    }
    assert list(json.loads(text)) == ["a", "b", "c", "d"]
    assert workdir.read_json(tmp_path / "x.json")["a"][2] == 0.1


def test_floats_come_back_bit_for_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 2000, dtype=np.uint64).view(np.float64)
    values = [float(value) for value in values[np.isfinite(values)]] + [-0.0, 5e-324, 1.7976931348623157e308]
    workdir.write_json(tmp_path / "x.json", values)
    assert np.array(workdir.read_json(tmp_path / "x.json")).tobytes() == np.array(values).tobytes()


@pytest.mark.parametrize("value", [np.int32(3), np.array(3), np.bool_(True), np.float64("nan")])
def test_scalars_of_numpy_are_numbers(value: np.generic) -> None:
    assert workdir.dumps({"x": value}) == json.dumps({"x": None if value != value else value.item()})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    workdir.write_json(path, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"x\.json: cannot be written: no space left on device"):
        workdir.write_json(path, 2)
    assert workdir.read_json(path) == 1
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    workdir.write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        workdir.write_json(tmp_path / "x.json", {"x": object()})
    assert os.listdir(tmp_path) == ["x.json"]
    assert workdir.read_json(tmp_path / "x.json") == 1


def test_the_new_content_is_on_the_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else os.fstat(descriptor).st_size)
        fsync(descriptor)

    def note_replace(old: Path, new: Path) -> None:
        events.append("replace")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    workdir.write_bytes(tmp_path / "x", b"12345")
    assert events == [5, "replace", "folder"]


def test_writing_does_not_follow_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".x.json.tmp").symlink_to(victim)
    (tmp_path / "y.json").symlink_to(victim)
    with pytest.raises(UserError, match=r"x\.json: cannot be written"):
        workdir.write_json(tmp_path / "x.json", 1)
    workdir.write_json(tmp_path / "y.json", 1)
    assert victim.read_text() == "mine"


def test_lines_are_rewritten_whole_and_appended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    workdir.write_jsonl(path, [{"epoch": 1}, {"epoch": 2, "val/loss": float("nan")}])
    workdir.append_jsonl(path, {"epoch": 3, "a": 0.5})
    assert path.read_text() == '{"epoch": 1}\n{"epoch": 2, "val/loss": null}\n{"a": 0.5, "epoch": 3}\n'
    with path.open("a") as file:
        file.write('{"epo')  # half a line
    workdir.write_jsonl(path, [{"epoch": 1}])
    assert path.read_text() == '{"epoch": 1}\n'
    assert workdir.read_lines(path) == [{"epoch": 1}]
    path.write_text('{"epoch": 1}\nnull')
    with pytest.raises(UserError, match="holds no JSON object"):
        workdir.read_lines(path)
    path.write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is not JSON"):
        workdir.read_lines(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": NaN}', b"[-Infinity]", b"\xff\xfe", b"[" * 100_000, b"1 2", b'{"a": 1,}', b"9" * 9999],
)
def test_what_is_no_json_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json: is damaged, not JSON") as error:
        workdir.read_json(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json: cannot be read: no such file or directory"):
        workdir.read_json(tmp_path / "config.json")
    with pytest.raises(UserError, match="cannot be read: is a directory"):
        workdir.read_json(tmp_path)


FIELDS = {"seed": 1, "rates": [0.1, 1e-300], "hidden_sizes": (8, 4), "a": {"z": None, "b": "é"}}


def test_a_sealed_file_keeps_the_order_of_its_fields_and_ends_with_their_sum(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    workdir.write_sealed(path, FIELDS)
    plain = json.dumps(FIELDS, indent=2)
    assert path.read_text().startswith(plain.removesuffix("\n}") + ',\n  "sha256": "')
    assert workdir.read_sealed(path) == json.loads(plain)
    path.write_text(plain)  # as written by hand
    assert workdir.read_sealed(path) == json.loads(plain)


def test_a_flipped_bit_of_a_sealed_file_is_never_other_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    workdir.write_sealed(path, FIELDS)
    whole, fields = path.read_bytes(), workdir.read_sealed(path)
    refused = 0
    for bit in range(8 * len(whole)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            found = workdir.read_sealed(path)
        except UserError:
            refused += 1
        else:  # a space became another one, or the sum lost its name
            assert {name: found[name] for name in fields} == fields
    assert refused > 6 * len(whole)


def test_an_edited_file_says_how_it_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    workdir.write_sealed(path, FIELDS)
    path.write_text(path.read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(UserError, match=r"a\.json: is damaged or was edited.*remove its last field \"sha256\" to"):
        workdir.read_sealed(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"3"])
def test_where_an_object_is_needed_another_value_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    for read in (workdir.read_sealed, workdir.read_if_there, workdir.read_lines):
        if read is not workdir.read_lines or content:
            with pytest.raises(UserError, match=r"config\.json: (is damaged, not JSON|holds no JSON object)"):
                read(tmp_path / "config.json")


def test_what_is_not_there_is_empty_but_for_the_config(tmp_path: Path) -> None:
    assert workdir.read_if_there(tmp_path / "best.json") == {}
    assert workdir.read_lines(tmp_path / "trials.jsonl") == []
    with pytest.raises(UserError, match=r"holds no run: it has no config\.json"):
        workdir.read_config(tmp_path)


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, workdir.LARGEST + 1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "not a regular file"),  # reading it would wait for ever
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),  # and this would fill the memory
        (_sparse, "larger than 1073741824 bytes"),
    ],
    ids=["pipe", "zeros", "sparse"],
)
def test_what_is_no_file_of_a_sensible_size_is_not_read(make, words: str, tmp_path: Path) -> None:
    make(tmp_path / "data.json")
    with pytest.raises(UserError, match=words):
        workdir.read_json(tmp_path / "data.json")
    with pytest.raises(UserError, match=words):
        workdir.read_lines(tmp_path / "data.json")
