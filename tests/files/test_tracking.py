"""Trackers: nothing unless asked, no question, no secret on paper, no failure that ends a run."""

import http.server
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlp_jax.errors import UserError, redact
from mlp_jax.files import tracking
from mlp_jax.files.tracking import open_tracker

KEY = "0badc0de" * 5
CONFIG = {
    "wandb_project": "laboratory",
    "wandb_entity": "",
    "learning_rate": 0.001,
    "hidden_sizes": (128, 64),
    "storage": "postgresql://me:hunter2@db/study",
}
RECORDS = [
    {"epoch": 1, "step": 10, "train/loss": 0.1 + 0.2, "val/accuracy": None},
    {"epoch": 2, "step": 20, "train/loss": float("nan"), "val/accuracy": 0.75},
]
SUMMARY = {"test/accuracy": 0.5, "dataset": "digits", "val/loss": None}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No key of the developer's, and nothing that an earlier test decided or said."""
    for name in list(os.environ):
        if name.startswith("WANDB") or name == "NETRC" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    tracking._mode.cache_clear()
    tracking._say_once.cache_clear()


# Servers, all on this machine.


@pytest.fixture
def silent_host() -> Iterator[str]:
    """A host that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_host() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


class WandbServer(http.server.ThreadingHTTPServer):
    """As much of a W&B server as a run needs; `status` of 200 takes everything."""

    daemon_threads = True

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), WandbHandler)
        self.status = status
        self.requests: list[tuple[str, str, str]] = []  # path, body, authorization

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class WandbHandler(http.server.BaseHTTPRequestHandler):
    server: WandbServer

    def do_HEAD(self) -> None:
        self.answer(404 if self.server.status == 200 else self.server.status, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode("latin-1")
        self.server.requests.append((self.path, body, self.headers.get("Authorization", "")))
        project = {"id": "p", "name": "laboratory", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "x", "name": "abc", "displayName": "run", "config": "{}", "project": project}
        data = {
            "upsertBucket": {"inserted": True, "bucket": bucket},
            "viewer": {"id": "v", "entity": "me", "flags": "{}", "teams": {"edges": []}},
            "createRunFiles": {"files": [], "uploadHeaders": [], "runID": "x"},
            "serverInfo": None,
        }
        self.answer(self.server.status, {"data": data})

    def answer(self, status: int, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def wandb_server() -> Iterator[Callable[[int], WandbServer]]:
    servers: list[WandbServer] = []

    def start(status: int) -> WandbServer:
        servers.append(WandbServer(status))
        threading.Thread(target=servers[-1].serve_forever, args=(0.02,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# What is asked for


def test_none_imports_nothing_and_writes_nothing(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from mlp_jax.files.tracking import open_tracker
tracker = open_tracker("none", {{}}, Path({str(tmp_path)!r}), "run")
tracker.log({{"epoch": 1}}, 1)
tracker.finish({{}})
assert not {{"wandb", "tensorboardX", "jax"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX")])
def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"tracker: {name} is not installed; pip install {package}$"):
        open_tracker(name, CONFIG, tmp_path, "run")


# Passwords


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://me:hunter2@db:5432/study", "postgresql://me@db:5432/study"),
        ("postgresql+psycopg://me:hunter2@db/study?sslmode=on", "postgresql+psycopg://me@db/study?sslmode=on"),
        ("postgresql://:hunter2@db/study", "postgresql://@db/study"),
        ("postgresql://me:hunt@er2@db/study", "postgresql://me@db/study"),
        ("postgresql://me:hunter2/x#y?z@db/study", "postgresql://me@db/study"),
        ("postgresql://me:hunter2/x@db/study?a=b@c", "postgresql://me@db/study?a=b@c"),
        ("postgresql://me:5432@db/study", "postgresql://me@db/study"),
        ("postgresql://me:hunter2@one:1,two:2/study", "postgresql://me@one:1,two:2/study"),
        ("postgresql://me:hunter2@[::1]:5432/study", "postgresql://me@[::1]:5432/study"),
        ("postgresql:///study?user=me&password=hunter2", "postgresql:///study?user=me"),
        ("postgresql:///study?password=hunter2&user=me", "postgresql:///study?user=me"),
        ("mysql://db/s?ssl_Passwd=hunter2&a=1&api_key=hunter2&token=hunter2", "mysql://db/s?a=1"),
        ("failed at http://me:hunter2@proxy:80, retry http://a/b", "failed at http://me@proxy:80, retry http://a/b"),
    ],
)
def test_passwords_are_taken_out(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact({"a": [text, 1], "b": (text,)}) == {"a": [expected, 1], "b": [expected]}


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me/study.db",
        "postgresql://me@db/study",
        "http://localhost:8080/a@b",
        "http://localhost:8080",
        "http://[::1]:8080/a@b",
        "https://host/path?q=1&",
        "me:word@host is no URL",
        "fashion_mnist",
        "",
    ],
)
def test_what_has_no_password_is_as_it_was(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("value", [1, 0.5, None, True])
def test_what_is_no_text_is_as_it_was(value: object) -> None:
    assert redact(value) is value


# Online or offline


def test_without_a_key_offline(closed_host: str) -> None:
    assert tracking._mode(closed_host) == ("offline", "no API key in WANDB_API_KEY or ~/.netrc")


def test_a_silent_host_is_offline(silent_host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "HOST_SECONDS", 0.2)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert tracking._mode(silent_host) == ("offline", f"{silent_host} does not answer within 0.2 s")


def test_a_name_that_is_looked_up_for_ever_is_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    done, given_up = [], threading.Event()

    def look_up(*arguments: object, **named: object) -> list[object]:
        given_up.wait(10)
        done.append(True)
        return []

    monkeypatch.setattr(tracking, "HOST_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert not tracking._answers("http://somewhere.invalid")
    assert not done
    given_up.set()


@pytest.mark.parametrize(("status", "expected"), [(200, True), (401, True), (403, True), (500, False), (503, False)])
def test_only_a_server_in_order_has_answered(
    wandb_server: Callable[[int], WandbServer], status: int, expected: bool
) -> None:
    assert tracking._answers(wandb_server(status).url) == expected


@pytest.mark.parametrize(
    "url", ["http://me:word@host", "http://", "no url", "http://127.0.0.1:99999", "ftp://127.0.0.1:1"]
)
def test_what_is_no_address_is_offline(url: str) -> None:
    assert not tracking._answers(url)


def test_a_closed_port_is_offline(closed_host: str) -> None:
    assert not tracking._answers(closed_host)


@pytest.mark.parametrize("how", ["environment", "netrc", "NETRC"])
def test_a_key_and_an_answer_are_online(
    wandb_server: Callable[[int], WandbServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    url = wandb_server(200).url
    entry = f"machine {url.removeprefix('http://')}\n  login user\n  password {KEY}\n"
    if how == "environment":
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    elif how == "netrc":
        netrc = Path(os.environ["HOME"]) / ".netrc"
        netrc.write_text(entry)
        netrc.chmod(0o600)
    else:
        (tmp_path / "netrc").write_text(entry)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracking._mode(url) == ("online", "")


@pytest.mark.parametrize("content", [b"machine", b"\xff\xfe", b"machine elsewhere login me password x\n"])
def test_a_netrc_without_the_key_is_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "netrc").write_bytes(content)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracking._key("http://127.0.0.1:1") == ""


# W&B, with a stand-in for the library


class Stub:
    """A module `wandb` whose functions fail as told; `said` is what it was asked."""

    def __init__(self, fails: str = "", mode: str = "online") -> None:
        self.fails = fails
        self.said: list[tuple[str, Any]] = []
        self.session = SimpleNamespace(settings=SimpleNamespace(mode=mode, base_url="http://stub"))
        self.summary = SimpleNamespace(update=lambda summary: self.note("summary", summary))
        self.url = "http://stub/run"

    def note(self, what: str, value: Any) -> None:
        self.said.append((what, value))
        if what in self.fails.split():
            raise RuntimeError(f"{what} failed with key {KEY} at postgresql://me:hunter2@db/x\nand more lines")

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def setup(self, settings: object) -> Any:
        self.note("setup", settings)
        return self.session

    def init(self, mode: str, **arguments: Any) -> "Stub":
        self.note(mode, arguments)
        return self

    def log(self, record: dict[str, Any], step: int) -> None:
        self.note("log", (record, step))

    def finish(self) -> None:
        self.note("finish", None)


def follow(stub: Stub, monkeypatch: pytest.MonkeyPatch, workdir: Path, group: str = "") -> list[str]:
    monkeypatch.setitem(sys.modules, "wandb", stub)
    monkeypatch.setattr(tracking, "_answers", lambda url: True)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tracker = open_tracker("wandb", CONFIG, workdir, "run", group)
    for record in RECORDS:
        tracker.log(record, record["epoch"])
    tracker.finish(SUMMARY)
    return [what for what, _ in stub.said]


def test_what_wandb_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stub = Stub()
    assert follow(stub, monkeypatch, tmp_path, "sweep") == ["setup", "online", "log", "log", "summary", "finish"]
    told = dict(stub.said[1:2])["online"]
    assert (told["dir"], told["name"], told["group"]) == (tmp_path, "run", "sweep")
    assert (told["project"], told["entity"]) == ("laboratory", None)
    assert told["config"] == {**CONFIG, "hidden_sizes": [128, 64], "storage": "postgresql://me@db/study"}
    assert stub.said[2] == ("log", ({"epoch": 1, "step": 10, "train/loss": 0.1 + 0.2}, 1))
    assert capsys.readouterr() == ("", "W&B: logging to http://stub/run\n")


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ("setup", ["setup"]),
        ("online offline", ["setup", "online", "offline"]),
        ("log", ["setup", "online", "log"]),
        ("summary", ["setup", "online", "log", "log", "summary"]),
        ("finish", ["setup", "online", "log", "log", "summary", "finish"]),
    ],
)
def test_a_failure_of_wandb_is_one_line_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails: str, calls: list[str]
) -> None:
    assert follow(Stub(fails), monkeypatch, tmp_path) == calls
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "not logged any further" in line]
    assert lines == [
        f"W&B: not logged any further: RuntimeError: {fails.split()[-1]} failed with key … at postgresql://me@db/x"
    ]
    assert out == ""
    assert "more lines" not in err


def test_where_online_is_refused_it_goes_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = follow(Stub("online"), monkeypatch, tmp_path / "my runs")
    assert calls == ["setup", "online", "offline", "log", "log", "summary", "finish"]
    err = capsys.readouterr().err
    assert err.startswith("W&B: logging offline (RuntimeError: online failed with key …")
    assert err.endswith(f"upload it with: wandb sync '{tmp_path}/my runs/wandb'/offline-run-*\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("mode", "lines"), [("offline", 1), ("disabled", 0)])
def test_the_mode_that_the_user_set_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str, lines: int
) -> None:
    assert follow(Stub(mode=mode), monkeypatch, tmp_path)[:2] == ["setup", mode]
    assert capsys.readouterr().err.count("\n") == lines


def test_trials_of_one_sweep_say_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        follow(Stub(mode="offline"), monkeypatch, tmp_path, "sweep")
    assert capsys.readouterr().err.count("\n") == 1


# W&B itself

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from mlp_jax.files import tracking
from mlp_jax.files.tracking import open_tracker
tracking.FINISH_SECONDS = 4
config, records, summary, workdir = json.loads(sys.stdin.readline())
tracker = open_tracker("wandb", config, Path(workdir), "run", "sweep")
other = open_tracker("wandb", config, Path(workdir), "other", "sweep")
other.log(records[0], 1)
tracker.log(records[0], 1)
print("opened", flush=True)
sys.stdin.readline()
tracker.log(records[1], 2)
time.sleep(float(os.environ.get("PAUSE", "0")))
tracker.log(records[1] | {"step": 30}, 3)
tracker.finish(summary)
other.finish(summary)
print("finished", flush=True)
"""


def start(workdir: Path, **environment: str) -> subprocess.Popen[str]:
    """A process that logs; its standard input takes a line to go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"--config.storage={CONFIG['storage']}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "WANDB_API_KEY": KEY, "PYTHONPATH": os.getcwd(), **environment},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([CONFIG, RECORDS, SUMMARY, str(workdir)]) + "\n")
    process.stdin.flush()
    process.stdout.readline()
    return process


def assert_no_secret(*places: Path | str) -> None:
    for place in places:
        files = [path for path in place.rglob("*") if path.is_file()] if isinstance(place, Path) else []
        for content in [path.read_bytes() for path in files] or [str(place).encode()]:
            for secret in (KEY, "hunter2"):
                assert secret.encode() not in content


def read_wandb(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, a LevelDB log: blocks of 32 KiB, each piece with CRC, length and kind."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, whole = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:  # a piece never starts in the last bytes of a block
            place += 32768 - place % 32768
            continue
        crc, length, kind = struct.unpack_from("<IHB", content, place)
        piece = content[place + 7 : place + 7 + length]
        assert zlib.crc32(bytes([kind]) + piece) == crc
        whole = piece if kind in (1, 2) else whole + piece
        if kind in (1, 4):
            yield Record.FromString(whole)
        place += 7 + length


def history(path: Path) -> list[dict[str, Any]]:
    return [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in read_wandb(path)
        if record.WhichOneof("record_type") == "history"
    ]


def test_offline_the_metrics_are_in_the_workdir(tmp_path: Path, closed_host: str) -> None:
    """A key is there and no host: the run is logged offline, in the workdir alone, without the key."""
    workdir = tmp_path / "run"
    workdir.mkdir()
    out, err = start(workdir, WANDB_BASE_URL=closed_host).communicate("\n", timeout=60)
    assert out == "finished\n"
    assert err == (
        f"W&B: logging offline ({closed_host} does not answer within 3 s); "
        f"upload it with: wandb sync {workdir}/wandb/offline-run-*\n"
    )
    assert os.listdir(workdir) == ["wandb"]
    files = sorted(workdir.glob("wandb/offline-run-*/*.wandb"), key=lambda path: len(history(path)))
    assert [len(history(path)) for path in files] == [1, 3]
    logged = history(files[1])
    assert [line["_step"] for line in logged] == [1, 2, 3]
    assert [line["epoch"] for line in logged] == [1, 2, 2]
    assert [line["step"] for line in logged] == [10, 20, 30]
    assert logged[0]["train/loss"] == 0.1 + 0.2
    assert "val/accuracy" not in logged[0]
    assert logged[1]["val/accuracy"] == 0.75
    run = next(record.run for record in read_wandb(files[1]) if record.WhichOneof("record_type") == "run")
    assert (run.display_name, run.run_group, run.project) == ("run", "sweep", "laboratory")
    assert not {"output", "output_raw"} & {record.WhichOneof("record_type") for record in read_wandb(files[1])}
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["learning_rate"] == 0.001
    assert config["storage"] == "postgresql://me@db/study"
    assert_no_secret(workdir, out, err)


def hosts_and_lines(server: WandbServer) -> list[dict[str, Any]]:
    """The history lines that the server was given."""
    streams = [json.loads(body)["files"] for path, body, _ in server.requests if path.endswith("/file_stream")]
    chunks = [files["wandb-history.jsonl"]["content"] for files in streams if "wandb-history.jsonl" in files]
    return [json.loads(line) for chunk in chunks for line in chunk]


@pytest.mark.slow
def test_online_the_metrics_reach_the_server(tmp_path: Path, wandb_server: Callable[[int], WandbServer]) -> None:
    server = wandb_server(200)
    out, err = start(tmp_path, WANDB_BASE_URL=server.url).communicate("\n", timeout=60)
    assert out == "finished\n"
    assert err == f"W&B: logging to {server.url}/me/laboratory/runs/abc\n"
    assert sorted(line["step"] for line in hosts_and_lines(server)) == [10, 10, 20, 30]
    assert_no_secret(tmp_path, out, err, *(body for _, body, _ in server.requests))


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_means_offline(
    tmp_path: Path, wandb_server: Callable[[int], WandbServer], status: int
) -> None:
    server = wandb_server(status)
    out, err = start(tmp_path, WANDB_BASE_URL=server.url).communicate("\n", timeout=60)
    assert out == "finished\n"
    assert err.startswith("W&B: logging offline (CommError")
    assert [len(history(path)) > 0 for path in tmp_path.glob("wandb/offline-run-*/*.wandb")] == [True, True]
    assert_no_secret(tmp_path, out, err)


@pytest.mark.slow
def test_a_service_that_dies_does_not_end_the_run(tmp_path: Path, wandb_server: Callable[[int], WandbServer]) -> None:
    server = wandb_server(200)
    process = start(tmp_path, WANDB_BASE_URL=server.url, PAUSE="1")
    children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True)
    services = [int(line.split()[0]) for line in children.stdout.splitlines() if "wandb-core" in line]
    assert len(services) == 1
    os.kill(services[0], signal.SIGKILL)
    out, err = process.communicate("\n", timeout=60)
    assert (out, process.returncode) == ("finished\n", 0)
    assert len([line for line in err.splitlines() if line.startswith("W&B: not logged any further")]) == 1


@pytest.mark.slow
def test_an_upload_that_does_not_end_is_given_up(tmp_path: Path, wandb_server: Callable[[int], WandbServer]) -> None:
    server = wandb_server(200)
    process = start(tmp_path, WANDB_BASE_URL=server.url)
    server.status = 503
    out, err = process.communicate("\n", timeout=60)
    assert (out, process.returncode) == ("finished\n", 0)
    assert "W&B: not logged any further: TimeoutError" in err
    assert_no_secret(tmp_path, out, err)


# TensorBoard


def read_events(path: Path) -> Iterator[Any]:
    """The events of a file, TFRecord: length, CRC, protocol buffer, CRC."""
    from tensorboardX.proto.event_pb2 import Event

    content, place = path.read_bytes(), 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        yield Event.FromString(content[place + 12 : place + 12 + length])
        place += 12 + length + 4
    assert place == len(content)


def scalars(path: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for event in read_events(path):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_events(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    tracker = open_tracker("tensorboard", CONFIG, tmp_path, "hl_3", "a sweep")
    tracker.log(RECORDS[0], 1)
    (path,) = (tmp_path / "tensorboard" / "a_sweep" / "hl_3").iterdir()
    assert scalars(path)["epoch"] == [(1, 1.0)]  # before the end: a killed run loses nothing
    tracker.log(RECORDS[1], 2)
    tracker.finish(SUMMARY)
    found = scalars(path)
    assert found["step"] == [(1, 10.0), (2, 20.0)]
    assert found["val/accuracy"] == [(2, 0.75)]
    assert found["train/loss"] == [(1, pytest.approx(0.3, rel=1e-6))]
    texts = {
        value.tag: json.loads(value.tensor.string_val[0])
        for event in read_events(path)
        for value in event.summary.value
        if value.HasField("tensor")
    }
    assert texts["config/text_summary"]["hidden_sizes"] == [128, 64]
    assert texts["summary/text_summary"] == SUMMARY
    assert_no_secret(tmp_path)
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")


@pytest.mark.parametrize(("run_name", "group"), [("../../../x", "/../y"), ("..", ".."), ("/", "")])
def test_tensorboard_stays_in_the_workdir(tmp_path: Path, run_name: str, group: str) -> None:
    open_tracker("tensorboard", CONFIG, tmp_path / "run", run_name, group).finish(SUMMARY)
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["tensorboard"]


def test_a_failure_of_tensorboard_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    tracker = open_tracker("tensorboard", CONFIG, tmp_path, "run")
    tracker.log(RECORDS[0], 1)
    tracker.finish(SUMMARY)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("TensorBoard: not logged any further: NotADirectoryError")
    assert err.count("\n") == 1


def test_tensorboard_does_not_need_tensorflow() -> None:
    # Not even where they are installed: an import of what stands in sys.modules as None fails.
    absent = "import sys; sys.modules |= dict.fromkeys(('tensorflow', 'torch', 'tensorboard'))"
    program = f"{absent}; from tensorboardX import SummaryWriter"
    subprocess.run([sys.executable, "-c", program], check=True)
