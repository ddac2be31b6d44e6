import contextlib
import gzip
import hashlib
import itertools
import json
import os
import socketserver
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from time import monotonic, sleep

import pytest

from mlp_jax.data import download
from mlp_jax.data.datasets import PUBLISHED
from tests.shared.idx_files import STEMS, file_name

URL = PUBLISHED["fashion_mnist"].url
FILES = [file_name(stem, gz=True) for stem in STEMS]
ARCHIVE = gzip.compress(os.urandom(200_000))


class Host(socketserver.ThreadingTCPServer):
    """A proxy on the loopback that plays any host; `answer(connection, path, count)` says what it does."""

    daemon_threads = True

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Connection)
        self.answer, self.counter, self.over = answer, itertools.count(), threading.Event()
        threading.Thread(target=self.serve_forever, args=[0.01], daemon=True).start()

    def close(self):
        self.over.set()
        self.shutdown()
        self.server_close()


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1].decode().rsplit("/", 1)[-1].split("?")[0]
        while self.rfile.readline().strip():
            pass
        with contextlib.suppress(OSError):  # the other side has gone
            if self.server.answer(self.connection, path, next(self.server.counter)) == "stay":
                self.server.over.wait()


def head(length, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n".encode()


def sends(content, then=None):
    """An answer that sends these bytes and closes the connection, or lets it stay."""

    def answer(connection, path, count):
        connection.sendall(content)
        return then

    return answer


def endless(connection, path, count):
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\x1f\x8b")
    while True:
        connection.sendall(bytes(1 << 16))


def after_the_first_look(answer):
    return lambda connection, path, count: (answer if count else whole)(connection, path, count)


whole = sends(head(len(ARCHIVE)) + ARCHIVE)
half = sends(head(len(ARCHIVE)) + ARCHIVE[: len(ARCHIVE) // 2])
half_then_silent = sends(head(len(ARCHIVE)) + ARCHIVE[: len(ARCHIVE) // 2], "stay")
silent = sends(b"", "stay")
forbidding = sends(head(9, "403 Forbidden") + b"Forbidden")


@pytest.fixture
def behind(monkeypatch):
    """Puts this process and its children behind a host of the given behaviour, for http and https."""
    with contextlib.ExitStack() as hosts:

        def start(answer):
            host = Host(answer)
            hosts.callback(host.close)
            address = f"http://127.0.0.1:{host.server_address[1]}"
            for name in ("http_proxy", "https_proxy"):
                monkeypatch.setenv(name, address)
                monkeypatch.setenv(name.upper(), address)
            for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.delenv(name, raising=False)
            urllib.request.install_opener(urllib.request.build_opener())  # it remembers the proxies of its first use
            return host

        yield start
        urllib.request.install_opener(None)


def fetch(folder, url=URL, num_bytes=800_000):
    download.fetch("fashion_mnist", url, FILES, num_bytes, folder)


def fails(folder, says, url=URL):
    with pytest.raises(download.Unreachable, match=says) as error:
        fetch(folder / "data" / "fashion_mnist", url)
    assert str(error.value).isprintable()
    assert not (folder / "data" / "fashion_mnist").exists()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (silent, "cannot be reached: timed out"),
        (sends(b"HTTP/1.1 200 OK\r\nContent-Le", "stay"), "cannot be reached: timed out"),
        (forbidding, "answers 403 Forbidden"),
        (sends(head(13) + b"<html></html>"), "answers with something that is no archive"),
        (sends(b"\0\x1b[2J nonsense\r\n\r\n"), "cannot be reached: .*nonsense"),
        (sends(b""), "cannot be reached: .*closed"),
    ],
)
def test_a_host_that_does_not_answer_is_found_out_at_once(monkeypatch, behind, answer, says):
    behind(answer)
    monkeypatch.setattr(download, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(download.Unreachable, match=says):
        download.look_at(URL + FILES[0])
    with pytest.raises(download.Unreachable):
        download.look_at(PUBLISHED["mnist"].url + FILES[0])  # over https


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_proxy_that_is_not_there_is_the_reason_and_nothing_is_left(tmp_path, behind, name):
    behind(silent).close()
    fails(tmp_path, "cannot be reached: .*refused", PUBLISHED[name].url)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (silent, "cannot be reached: timed out"),
        (half, "IncompleteRead|Connection broken"),
        (half_then_silent, "0.4 of 0.8 MB arrived, then nothing more"),
        (whole, "a checksum is wrong"),
        (endless, "sends more than"),
        (after_the_first_look(forbidding), "403"),
        (after_the_first_look(silent), "0.0 of 0.8 MB arrived, then nothing more"),
    ],
)
def test_a_host_that_disappoints_is_given_up_within_ten_seconds(tmp_path, behind, answer, says):
    behind(answer)
    start = monotonic()
    fails(tmp_path, says)
    assert monotonic() - start < 10


def test_a_child_that_cannot_start_or_hangs_is_given_up(tmp_path, monkeypatch):
    # It hangs before its first byte where a name is looked up for ever: the resolver has no time limit of its own.
    monkeypatch.setattr(sys, "executable", "/bin/cat")  # rejects its arguments, and so ends at once
    fails(tmp_path, "ended with status 1")
    (script := tmp_path / "hang").write_text("#!/bin/sh\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    monkeypatch.setattr(download, "_START_SECONDS", 0.5)
    fails(tmp_path, "0.0 of 0.8 MB arrived, then nothing more")


@pytest.mark.parametrize(
    ("seconds", "arrivals", "given_up", "on_a_terminal"),
    [
        (50, range(3, 50, 4), None, True),  # slow, but it goes on
        (60, [], 8, True),
        (60, [7], 12, False),
        (60, [1, 4, 8, 9], 14, True),
        (7, [], None, False),
    ],
)
def test_a_slow_host_is_waited_for_and_a_silent_one_is_not(
    monkeypatch, capsys, seconds, arrivals, given_up, on_a_terminal
):
    class Child:  # on a clock of its own; it ends after `seconds`, and 100 bytes come at each of the seconds `arrivals`
        now = 0.0

        def poll(self):
            return 0 if self.now >= seconds else None

        def wait(self, timeout):
            self.now += timeout
            raise subprocess.TimeoutExpired("child", timeout)

    child = Child()
    monkeypatch.setattr(download, "monotonic", lambda: child.now)
    monkeypatch.setattr(download, "_size", lambda _: 100 * sum(arrival <= child.now for arrival in arrivals))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: on_a_terminal)
    with pytest.raises(download.Unreachable, match="nothing more") if given_up else contextlib.nullcontext():
        download._watch(child, Path(), 10**6)
    assert child.now == pytest.approx(given_up or seconds, abs=0.3)
    assert ("of 1.0 MB" in capsys.readouterr().err) == bool(arrivals and on_a_terminal)  # the progress


def test_the_manager_checks_the_sums_and_the_archives_end_up_under_their_names(tmp_path, monkeypatch, behind):
    from tensorflow_datasets.core.download import checksums

    archives = {file: gzip.compress(file.encode() * 1000) for file in FILES}
    behind(lambda connection, path, count: connection.sendall(head(len(archives[path])) + archives[path]))
    registered = {
        URL + file: checksums.UrlInfo(len(content), hashlib.sha256(content).hexdigest(), file)
        for file, content in archives.items()
    }
    monkeypatch.setattr(checksums, "get_all_url_infos", lambda: registered)
    job = {"name": "any", "urls": {file: URL + file for file in FILES}}
    (tmp_path / "good").mkdir()
    download.work(job | {"folder": str(tmp_path / "good")})
    assert {file: (tmp_path / "good" / file).read_bytes() for file in FILES} == archives

    with pytest.raises(ValueError, match="Missing checksums"):
        download.work(job | {"folder": str(tmp_path / "good"), "urls": {"other.gz": URL + FILES[0] + "?other"}})

    archives[FILES[0]] = gzip.compress(b"something else")
    (tmp_path / "bad").mkdir()
    with pytest.raises(download.Unreachable, match="a checksum is wrong"):
        download.work(job | {"folder": str(tmp_path / "bad")})


def test_files_are_moved_at_the_end_and_nothing_else_is_left(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        download, "_run", lambda job, _: [Path(job["folder"], file).write_text(file) for file in job["urls"]]
    )
    fetch(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {file: file for file in FILES}
    assert capsys.readouterr().err == f"downloading fashion_mnist (1 MB) from {URL}\n"


@pytest.mark.parametrize("place", ["file/fashion_mnist", "null\0byte", "gone"])
def test_a_folder_that_cannot_be_written_is_a_reason(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("")
    if place == "gone":  # the disk fills up at the very end
        monkeypatch.setattr(download, "_run", lambda *_: None)
    with pytest.raises(download.Unreachable, match="nothing can be written there"):
        fetch(tmp_path / place)


def test_the_child_ends_and_cleans_up_when_its_parent_is_killed(tmp_path, behind):
    behind(silent)
    (folder := tmp_path / "temporary").mkdir()
    job = {"name": "any", "urls": {"a": URL + "a"}, "folder": str(folder)}
    child = subprocess.Popen([sys.executable, "-P", download.__file__, json.dumps(job)], stdin=subprocess.PIPE)
    sleep(0.5)
    assert child.poll() is None
    child.stdin.close()
    assert child.wait(30) == 1
    assert not folder.exists()


def test_an_interrupt_ends_the_child_and_leaves_nothing(tmp_path, monkeypatch):
    children = []

    def interrupted(child, *_):
        children.append(child)
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_watch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "data")
    assert children[0].returncode is not None
    assert not (tmp_path / "data").exists()


@pytest.mark.real_data
@pytest.mark.slow
def test_the_real_archives_over_a_slow_line(tmp_path, behind, data_dir):
    source = Path(data_dir) / "fashion_mnist"

    def serve(connection, path, count):
        content = (source / path).read_bytes()
        connection.sendall(head(len(content)))
        for begin in range(0, len(content), 1 << 16):  # about four seconds altogether
            sleep(0.01)
            connection.sendall(content[begin : begin + (1 << 16)])

    behind(serve)
    fetch(tmp_path, num_bytes=PUBLISHED["fashion_mnist"].num_bytes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        file: (source / file).read_bytes() for file in FILES
    }
