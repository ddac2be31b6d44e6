"""Trackers: nothing unless asked, no question, no secret on paper, no failure that ends a run."""

import contextlib
import http.server
import io
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

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
def _fresh(monkeypatch, tmp_path_factory):
    """No key of the developer's, and nothing that an earlier test decided or said."""
    for name in list(os.environ):
        if name.startswith("WANDB") or name == "NETRC" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    tracking._mode.cache_clear()
    tracking._say_once.cache_clear()


CLASSES, MATRIX = ["boot", "shirt"], [[3, 1], [0, 2]]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of a run that has ended, with its pictures (each of its own size) and its confusion matrix."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "plots").mkdir()
    for width, name in enumerate(tracking.PICTURES, start=3):
        Image.new("RGB", (width, 2), (200, 100, width)).save(folder / "plots" / f"{name}.png")
    (folder / "evaluation.json").write_text(json.dumps({"class_names": CLASSES, "matrix": MATRIX}))
    return folder


def pictures_of(folder):
    """The bytes of the PNG files below a folder, in any order."""
    return sorted(path.read_bytes() for path in folder.rglob("*.png"))


def assert_no_secret(*places):
    for place in places:
        files = [path for path in place.rglob("*") if path.is_file()] if isinstance(place, Path) else []
        for content in [path.read_bytes() for path in files] or [str(place).encode()]:
            assert KEY.encode() not in content
            assert b"hunter2" not in content


# Servers, all on this machine.


@pytest.fixture
def silent_host():
    """A host that accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_host():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


class WandbHandler(http.server.BaseHTTPRequestHandler):
    """As much of a W&B server as a run needs; a `status` of 200 takes everything."""

    def do_HEAD(self):
        self.answer(404 if self.server.status == 200 else self.server.status, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode("latin-1")
        self.server.requests.append((self.path, body))
        project = {"id": "p", "name": "laboratory", "entity": {"id": "e", "name": "me"}}
        bucket = {"id": "x", "name": "abc", "displayName": "run", "config": "{}", "project": project}
        data = {
            "upsertBucket": {"inserted": True, "bucket": bucket},
            "viewer": {"id": "v", "entity": "me", "flags": "{}", "teams": {"edges": []}},
            "createRunFiles": {"files": [], "uploadHeaders": [], "runID": "x"},
            "serverInfo": None,
        }
        self.answer(self.server.status, {"data": data})

    def answer(self, status, value):
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def wandb_server():
    """Starts a server that answers with a status; its `url`, and the `requests` as (path, body)."""
    servers = []

    def start(status):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), WandbHandler)
        server.status, server.requests = status, []
        server.url = f"http://127.0.0.1:{server.server_port}"
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


# What is asked for


def test_none_imports_nothing_and_writes_nothing(tmp_path):
    program = f"""
import sys
from pathlib import Path
from mlp_jax.files.tracking import open_tracker
tracker = open_tracker("none", {{}}, Path({str(tmp_path)!r}), "run")
tracker.log({{"epoch": 1}}, 1)
tracker.finish({{}}, None)
assert not {{"wandb", "tensorboardX", "trackio", "jax"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX"), ("trackio", "trackio")]
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as error:
        open_tracker(name, CONFIG, tmp_path, "run")
    assert str(error.value).startswith(f"tracker: {name} needs {package} ")
    assert str(error.value).endswith(f': pip install "mlp-jax[{name}]"')


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
        *[(text, text) for text in ("sqlite:////home/me/study.db", "postgresql://me@db/study", "https://host/p?q=1&")],
        *[(text, text) for text in ("http://localhost:8080/a@b", "http://localhost:8080", "http://[::1]:8080/a@b")],
        *[(text, text) for text in ("me:word@host is no URL", "fashion_mnist", "")],
    ],
)
def test_passwords_are_taken_out_and_all_else_stays(text, expected):
    assert redact(text) == expected
    assert redact({"a": [text, 1], "b": (text, None, 0.5)}) == {"a": [expected, 1], "b": [expected, None, 0.5]}


# Online or offline


def test_without_a_key_it_is_offline(closed_host):
    assert tracking._mode(closed_host) == ("offline", "no API key in WANDB_API_KEY or ~/.netrc")


def test_a_silent_host_is_offline(silent_host, monkeypatch):
    monkeypatch.setattr(tracking, "HOST_SECONDS", 0.2)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert tracking._mode(silent_host) == ("offline", f"{silent_host} does not answer within 0.2 s")


def test_a_name_that_is_looked_up_for_ever_is_offline(monkeypatch):
    given_up = threading.Event()
    monkeypatch.setattr(tracking, "HOST_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: given_up.wait(10) and [])
    assert not tracking._answers("http://somewhere.invalid")
    given_up.set()


@pytest.mark.parametrize(("status", "expected"), [(200, True), (401, True), (403, True), (500, False), (503, False)])
def test_only_a_server_in_order_has_answered(wandb_server, status, expected):
    assert tracking._answers(wandb_server(status).url) == expected


@pytest.mark.parametrize("url", ["http://me:word@host", "http://", "no url", "http://127.0.0.1:99999", "closed"])
def test_what_is_no_address_and_a_closed_port_are_offline(url, closed_host):
    assert not tracking._answers(closed_host if url == "closed" else url)


@pytest.mark.parametrize("how", ["environment", "netrc", "NETRC"])
def test_a_key_and_an_answer_are_online(wandb_server, monkeypatch, tmp_path, how):
    url = wandb_server(200).url
    netrc = Path(os.environ["HOME"]) / ".netrc" if how == "netrc" else tmp_path / "netrc"
    if how == "environment":
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    else:
        netrc.write_text(f"machine {url.removeprefix('http://')}\n  login user\n  password {KEY}\n")
        netrc.chmod(0o600)
    if how == "NETRC":
        monkeypatch.setenv("NETRC", str(netrc))
    assert tracking._mode(url) == ("online", "")


@pytest.mark.parametrize("content", [b"machine", b"\xff\xfe", b"machine elsewhere login me password x\n"])
def test_a_netrc_without_the_key_is_no_key(monkeypatch, tmp_path, content):
    (tmp_path / "netrc").write_bytes(content)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert tracking._key("http://127.0.0.1:1") == ""


# W&B, with a stand-in for the library


class Stub:
    """A module `wandb` whose functions fail as told; `said` is what it was asked."""

    url = "http://stub/run"
    Settings = dict

    def __init__(self, fails="", mode="online"):
        self.fails, self.said = fails.split(), []
        self.session = SimpleNamespace(settings=SimpleNamespace(mode=mode, base_url="http://stub"))
        self.summary = SimpleNamespace(update=lambda summary: self.note("summary", summary))
        self.plot = SimpleNamespace(confusion_matrix=lambda **given: ("confusion matrix", given))

    def note(self, what, value):
        self.said.append((what, value))
        if what in self.fails:
            raise RuntimeError(f"{what} failed with key {KEY} at postgresql://me:hunter2@db/x\nand more lines")

    def setup(self, settings):
        self.note("setup", settings)
        return self.session

    def init(self, mode, **arguments):
        self.note(mode, arguments)
        return self

    def log(self, record, step=None):
        self.note("log", (record, step))

    def Image(self, path):
        return "image", Path(path).name

    def finish(self):
        self.note("finish", None)


@pytest.fixture
def follow(monkeypatch, tmp_path, capsys):
    """Logs a run through a stub; what that was asked, and what stands on stderr."""

    def follow(stub, workdir=tmp_path, folder=None):
        monkeypatch.setitem(sys.modules, "wandb", stub)
        monkeypatch.setattr(tracking, "_answers", lambda url: True)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        tracker = open_tracker("wandb", CONFIG, workdir, "run", "sweep")
        for record in RECORDS:
            tracker.log(record, record["epoch"])
        tracker.finish(SUMMARY, folder)
        out, err = capsys.readouterr()
        assert out == ""
        return [what for what, _ in stub.said], err

    return follow


def test_what_wandb_is_told(follow, tmp_path):
    stub = Stub()
    calls, err = follow(stub)
    assert (calls, err) == (
        ["setup", "online", "log", "log", "summary", "finish"],
        "W&B: logging to http://stub/run\n",
    )
    told = stub.said[1][1]
    assert (told["dir"], told["name"], told["group"]) == (tmp_path, "run", "sweep")
    assert (told["project"], told["entity"]) == ("laboratory", None)
    assert told["config"] == {**CONFIG, "hidden_sizes": [128, 64], "storage": "postgresql://me@db/study"}
    assert stub.said[2] == ("log", ({"epoch": 1, "step": 10, "train/loss": 0.1 + 0.2}, 1))


def test_wandb_gets_pictures_as_images_and_the_confusion_matrix_as_its_own_chart(follow, tmp_path, kept):
    stub = Stub()
    follow(stub, tmp_path, kept)
    (shown, step) = stub.said[-3][1]
    assert step is None
    chart, given = shown.pop("confusion")
    assert shown == {name: ("image", f"{name}.png") for name in ("samples", "curves", "confusion_matrix")}
    assert (chart, given["class_names"]) == ("confusion matrix", CLASSES)
    counts = np.zeros((2, 2), int)
    np.add.at(counts, (given["y_true"], given["preds"]), 1)
    assert counts.tolist() == MATRIX


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
def test_a_failure_of_wandb_is_one_line_and_no_more(follow, fails, calls):
    said, err = follow(Stub(fails))
    assert said == calls
    (line,) = [line for line in err.splitlines() if "not logged any further" in line]
    last = fails.split()[-1]
    assert line == f"W&B: not logged any further: RuntimeError: {last} failed with key … at postgresql://me@db/x"
    assert "more lines" not in err


def test_where_online_is_refused_it_goes_offline(follow, tmp_path):
    calls, err = follow(Stub("online"), tmp_path / "my runs")
    assert calls == ["setup", "online", "offline", "log", "log", "summary", "finish"]
    assert err.startswith("W&B: logging offline (RuntimeError: online failed with key …")
    assert err.endswith(f"upload it with: wandb sync '{tmp_path}/my runs/wandb'/offline-run-*\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("mode", "lines"), [("offline", [1, 0, 0]), ("disabled", [0, 0, 0])])
def test_the_mode_that_the_user_set_wins_and_is_said_once_for_all_trials(follow, mode, lines):
    found = [follow(Stub(mode=mode)) for _ in lines]
    assert [calls[:2] for calls, _ in found] == [["setup", mode]] * 3
    assert [err.count("\n") for _, err in found] == lines


# W&B itself

PROGRAM = """
import json, os, sys, time
from pathlib import Path
from mlp_jax.files import tracking
from mlp_jax.files.tracking import open_tracker
tracking.FINISH_SECONDS = 4
config, records, summary, workdir, kept = json.loads(sys.stdin.readline())
tracker = open_tracker("wandb", config, Path(workdir), "run", "sweep")
other = open_tracker("wandb", config, Path(workdir), "other", "sweep")
other.log(records[0], 1)
tracker.log(records[0], 1)
print("opened", flush=True)
sys.stdin.readline()
tracker.log(records[1], 2)
time.sleep(float(os.environ.get("PAUSE", "0")))
tracker.log(records[1] | {"step": 30}, 3)
tracker.finish(summary, kept and Path(kept))
other.finish(summary, None)
print("finished", flush=True)
"""


def start(workdir, url, pause="0", kept=None):
    """A process that logs, once it has begun; its standard input takes a line to go on."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, f"--config.storage={CONFIG['storage']}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "WANDB_API_KEY": KEY, "PYTHONPATH": os.getcwd(), "WANDB_BASE_URL": url, "PAUSE": pause},
    )
    process.stdin.write(json.dumps([CONFIG, RECORDS, SUMMARY, str(workdir), kept and str(kept)]) + "\n")
    process.stdin.flush()
    process.stdout.readline()
    return process


def end(process, *places):
    """What it says on stderr to its end, which has to be a good one; no secret there nor in the places."""
    out, err = process.communicate("\n", timeout=60)
    assert (out, process.returncode) == ("finished\n", 0)
    assert_no_secret(err, *places)
    return err


def logged(workdir):
    """The bytes of the .wandb files, in which texts and numbers stand in clear, the longest first."""
    files = [path.read_bytes() for path in workdir.glob("wandb/offline-run-*/*.wandb")]
    return sorted(files, key=len, reverse=True)


def test_offline_the_metrics_are_in_the_workdir(tmp_path, closed_host, kept):
    """A key is there and no host: the run is logged offline, in the workdir alone, without the key."""
    assert end(start(tmp_path, closed_host, kept=kept), tmp_path) == (
        f"W&B: logging offline ({closed_host} does not answer within 3 s); "
        f"upload it with: wandb sync {tmp_path}/wandb/offline-run-*\n"
    )
    assert os.listdir(tmp_path) == ["wandb"]
    longer, shorter = logged(tmp_path)
    for text in ("laboratory", "sweep", "train/loss", "0.30000000000000004", "postgresql://me@db/study"):
        assert text.encode() in longer
    assert b"val/accuracy" in longer
    assert b"val/accuracy" not in shorter
    assert pictures_of(tmp_path) == pictures_of(kept)
    (table,) = tmp_path.rglob("*.table.json")
    counts = [[true, taken, MATRIX[i][j]] for i, true in enumerate(CLASSES) for j, taken in enumerate(CLASSES)]
    assert json.loads(table.read_text())["data"] == counts


@pytest.mark.slow
def test_online_the_metrics_reach_the_server(tmp_path, wandb_server):
    server = wandb_server(200)
    err = end(start(tmp_path, server.url), tmp_path)
    assert err == f"W&B: logging to {server.url}/me/laboratory/runs/abc\n"
    assert_no_secret(*(body for _, body in server.requests))
    streams = [json.loads(body)["files"] for path, body in server.requests if path.endswith("/file_stream")]
    chunks = [files["wandb-history.jsonl"]["content"] for files in streams if "wandb-history.jsonl" in files]
    assert sorted(json.loads(line)["step"] for chunk in chunks for line in chunk) == [10, 10, 20, 30]


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_means_offline(tmp_path, wandb_server, status):
    err = end(start(tmp_path, wandb_server(status).url), tmp_path)
    assert err.startswith("W&B: logging offline (CommError")
    assert [b"train/loss" in content for content in logged(tmp_path)] == [True, True]


@pytest.mark.slow
def test_a_service_that_dies_does_not_end_the_run(tmp_path, wandb_server):
    process = start(tmp_path, wandb_server(200).url, pause="1")
    children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True)
    (service,) = [int(line.split()[0]) for line in children.stdout.splitlines() if "wandb-core" in line]
    os.kill(service, signal.SIGKILL)
    assert end(process).count("W&B: not logged any further") == 1


@pytest.mark.slow
def test_an_upload_that_does_not_end_is_given_up(tmp_path, wandb_server):
    server = wandb_server(200)
    process = start(tmp_path, server.url)
    server.status = 503
    assert "W&B: not logged any further: TimeoutError" in end(process)


# TensorBoard


def read_events(path):
    """The summaries of a file with their steps. TFRecord: length, CRC, protocol buffer, CRC."""
    from tensorboardX.proto.event_pb2 import Event

    content, place, found = path.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = Event.FromString(content[place + 12 : place + 12 + length])
        found += [(event.step, value) for value in event.summary.value]
        place += 12 + length + 4
    return found


def test_tensorboard_has_every_figure_config_and_summary(tmp_path, kept, capfd, caplog):
    tracker = open_tracker("tensorboard", CONFIG, tmp_path, "hl_3", "a sweep")
    (path,) = (tmp_path / "tensorboard" / "a_sweep" / "hl_3").iterdir()
    for record in RECORDS:
        tracker.log(record, record["epoch"])
        assert read_events(path)[-1][0] == record["epoch"]  # before the end: a killed run loses nothing
    tracker.finish(SUMMARY, kept)
    events = read_events(path)
    scalars = [(step, value.tag, value.simple_value) for step, value in events if value.HasField("simple_value")]
    loss = pytest.approx(0.3, rel=1e-6)
    assert scalars[:3] == [(1, "epoch", 1), (1, "step", 10), (1, "train/loss", loss)]
    assert scalars[3:6] == [(2, "epoch", 2), (2, "step", 20), (2, "val/accuracy", 0.75)]  # no nan
    assert scalars[6:] == [(2, "test/accuracy", 0.5)]
    texts = {value.tag: json.loads(value.tensor.string_val[0]) for _, value in events if value.HasField("tensor")}
    assert texts["config/text_summary"]["hidden_sizes"] == [128, 64]
    assert texts["summary/text_summary"] == SUMMARY
    images = {value.tag: value.image.encoded_image_string for _, value in events if value.HasField("image")}
    assert set(images) == set(tracking.PICTURES)
    for name, content in images.items():
        assert np.array_equal(Image.open(io.BytesIO(content)), Image.open(kept / "plots" / f"{name}.png"))
    assert_no_secret(tmp_path)
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")


def test_tensorboard_compares_hyperparameters(tmp_path):
    """What its HParams page reads: the value of every field, the figures to compare by, and that the run has ended."""
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    tracker = open_tracker("tensorboard", CONFIG | {"stratified": True}, tmp_path, "run")
    tracker.finish(SUMMARY, None)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    plugins = [value.metadata.plugin_data for _, value in read_events(path)]
    parts = [HParamsPluginData.FromString(plugin.content) for plugin in plugins if plugin.plugin_name == "hparams"]
    experiment, begun, ended = parts
    values = begun.session_start_info.hparams
    assert values["learning_rate"].number_value == 0.001
    assert values["stratified"].bool_value
    assert values["hidden_sizes"].string_value == "128,64"
    assert {info.name for info in experiment.experiment.hparam_infos} == {*CONFIG, "stratified"}
    assert "test/accuracy" in {info.name.tag for info in experiment.experiment.metric_infos}
    assert ended.HasField("session_end_info")


@pytest.mark.parametrize(("run_name", "group"), [("../../../x", "/../y"), ("..", ".."), ("/", "")])
def test_tensorboard_stays_in_the_workdir(tmp_path, run_name, group):
    open_tracker("tensorboard", CONFIG, tmp_path / "run", run_name, group).finish(SUMMARY, None)
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["tensorboard"]


def test_a_failure_of_tensorboard_is_one_line(tmp_path, capsys):
    (tmp_path / "tensorboard").write_text("in the way")
    tracker = open_tracker("tensorboard", CONFIG, tmp_path, "run")
    tracker.log(RECORDS[0], 1)
    tracker.finish(SUMMARY, None)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("TensorBoard: not logged any further: NotADirectoryError")


# trackio

WITH_TRACKIO = """
import json, os, socket, sys
from pathlib import Path

def never(*_, **__):
    raise SystemExit("trackio asked the network")

socket.getaddrinfo = socket.socket.connect = never
from mlp_jax.files.tracking import open_tracker
config, records, summary, kept = json.loads(sys.stdin.readline())
open_tracker("trackio", config, Path(), "unfinished", "sweep").log(records[0], 1)
tracker = open_tracker("trackio", config, Path(), "run", "sweep")
for record in records:
    tracker.log(record, record["epoch"])
tracker.finish(summary, Path(kept))
assert os.environ["TRACKIO_SPACE_ID"] == "someone/space"
"""


def run_with_trackio(workdir, kept, **environment):
    """What stands on stderr after a run that is logged where TRACKIO_DIR says, with an account and no network."""
    pytest.importorskip("trackio")
    token = {"HF_TOKEN": "hf_" + "a" * 34, "TRACKIO_SPACE_ID": "someone/space", "TRACKIO_SERVER_URL": "http://a.b/?c"}
    process = subprocess.run(
        [sys.executable, "-c", WITH_TRACKIO],
        input=json.dumps([CONFIG, RECORDS, SUMMARY, str(kept)]),
        capture_output=True,
        text=True,
        env={**os.environ, **token, "PYTHONPATH": os.getcwd(), **environment},
        cwd=workdir,
        timeout=60,
    )
    assert (process.stdout, process.returncode) == ("", 0), process.stderr
    return process.stderr


def test_trackio_keeps_a_run_on_this_machine(tmp_path, kept):
    folder, workdir = tmp_path / "trackio", tmp_path / "run"
    workdir.mkdir()
    err = run_with_trackio(workdir, kept, TRACKIO_DIR=str(folder))
    assert err == f"trackio: logging to {folder}; look at it with: trackio show --project laboratory\n"
    assert os.listdir(workdir) == []
    assert_no_secret(folder)
    with contextlib.closing(sqlite3.connect(folder / "laboratory.db")) as database:
        configs = {name: json.loads(text) for name, text in database.execute("select run_name, config from configs")}
        logged = [
            (name, step, json.loads(text))
            for name, step, text in database.execute("select run_name, step, metrics from metrics order by id")
        ]
    assert configs["run"]["learning_rate"] == 0.001
    assert configs["run"]["storage"] == "postgresql://me@db/study"
    assert configs["run"]["_Group"] == "sweep"
    # The run that never ended has what it logged.
    assert [row for row in logged if row[0] == "unfinished"] == [("unfinished", 1, {"train/loss": 0.1 + 0.2})]
    first, second, (_, step, last) = [row for row in logged if row[0] == "run"]
    assert first == ("run", 1, {"train/loss": 0.1 + 0.2})
    assert second == ("run", 2, {"train/loss": "NaN", "val/accuracy": 0.75})
    assert step == 2
    assert last["test/accuracy"] == 0.5
    table = [{"true class": "boot", "boot": 3, "shirt": 1}, {"true class": "shirt", "boot": 0, "shirt": 2}]
    assert last["confusion"] == {"_type": "trackio.table", "_value": table}
    assert {last[name]["_type"] for name in tracking.PICTURES} == {"trackio.image"}
    assert pictures_of(folder) == pictures_of(kept)


def test_a_failure_of_trackio_is_one_line(tmp_path, kept):
    (tmp_path / "in the way").write_text("")
    err = run_with_trackio(tmp_path, kept, TRACKIO_DIR=str(tmp_path / "in the way"))
    assert err.count("\n") == 1
    assert err.startswith("trackio: not logged any further: FileExistsError")
