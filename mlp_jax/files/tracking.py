"""Trackers beside metrics.jsonl: Weights & Biases and TensorBoard, imported only where the config asks for them."""

import http.client
import math
import netrc
import numbers
import os
import re
import shlex
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mlp_jax.errors import UserError, redact
from mlp_jax.files.workdir import dumps

HOST_SECONDS = 3  # a W&B server that has not answered by then counts as out of reach
INIT_SECONDS = 20  # one that answers and then fails
FINISH_SECONDS = 60  # the longest wait for an upload at the end; what is left stays on disk for `wandb sync`


class Tracker(NamedTuple):
    """Two functions: `log(record, step)` during a run, `finish(summary)` after it. Neither ever raises."""

    log: Callable[[dict[str, Any], int], None]
    finish: Callable[[dict[str, Any]], None]


def open_tracker(name: str, config: dict[str, Any], workdir: Path, run_name: str, group: str = "") -> Tracker:
    """The tracker `name`: none, wandb or tensorboard; all that it writes goes below `workdir`.

    `config` is shown with the run, its URLs without passwords; `wandb_project` and `wandb_entity` are read from it.
    W&B never asks a question: without a key, or where its server does not answer within 3 s, it logs offline, and a
    line says how to upload that. UserError where the library is not installed; whatever fails later is one warning.
    """
    if name == "none":
        return Tracker(lambda record, step: None, lambda summary: None)
    title, package, start = _TRACKERS[name]
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its own telemetry prints about networks it cannot reach
    try:
        import_module(package)
    except ImportError as error:
        raise UserError(f"tracker: {name} is not installed; pip install {package}") from error
    attempt = _guard(title)
    inner: Any = attempt(lambda: start(redact(config), workdir, run_name, group))
    return Tracker(
        lambda record, step: attempt(lambda: inner.log(_numbers(record), step)),
        lambda summary: attempt(lambda: inner.finish(summary)),
    )


def _tensorboard(config: dict[str, Any], workdir: Path, run_name: str, group: str) -> Tracker:
    # Not its SummaryWriter: that writes from a thread, and waits for ever when the thread has died of a full disk.
    from tensorboardX import summary as tensorboard
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event

    folder = workdir / "tensorboard" / _file_name(group) / _file_name(run_name)
    folder.mkdir(parents=True, exist_ok=True)
    writer = EventsWriter(str(folder / "events"))

    def write(summaries: list[Any], step: int) -> None:
        for summary in summaries:
            writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        writer.flush()

    def log(record: dict[str, Any], step: int) -> None:
        write([tensorboard.scalar(name, value) for name, value in record.items() if math.isfinite(value)], step)

    def finish(summary: dict[str, Any]) -> None:
        write([tensorboard.text("summary", dumps(summary))], 0)
        writer.close()

    write([tensorboard.text("config", dumps(config))], 0)
    return Tracker(log, finish)


def _wandb(config: dict[str, Any], workdir: Path, run_name: str, group: str) -> Tracker:
    import wandb

    run = _start(wandb, config, workdir, run_name, group)

    def finish(summary: dict[str, Any]) -> None:
        run.summary.update(summary)
        run.finish()

    return Tracker(lambda record, step: run.log(record, step=step), finish)


def _start(wandb: Any, config: dict[str, Any], workdir: Path, run_name: str, group: str) -> Any:
    """A run of W&B, online where that is sure to work, else offline."""
    session = wandb.setup(wandb.Settings(silent=True)).settings
    mode, why = (session.mode, "as WANDB_MODE says") if session.mode != "online" else _mode(session.base_url)

    settings = wandb.Settings(
        console="off",
        reinit="create_new",  # several trials of a sweep are under way at once
        # The command line and the remote's address may hold passwords.
        x_disable_meta=True,
        disable_git=True,
        save_code=False,
        init_timeout=INIT_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
    )
    init = partial(
        wandb.init,
        dir=workdir,
        project=config["wandb_project"],
        entity=config["wandb_entity"] or None,
        name=run_name,
        group=group or None,
        config=config,
        settings=settings,
    )
    if mode == "online":
        try:
            run = init(mode="online")
            _say_once(f"W&B: logging to {run.url}")
            return run
        except Exception as error:  # a key that is refused, a server that answers no more
            mode, why = "offline", _why(error)
    run = init(mode=mode)
    if mode != "disabled":
        folders = shlex.quote(str(workdir / "wandb")) + "/offline-run-*"
        _say_once(f"W&B: logging offline ({why}); upload it with: wandb sync {folders}")
    return run


@cache
def _mode(base_url: str) -> tuple[str, str]:
    """online or offline, and why; decided once a process, so that 200 trials do not wait 200 times."""
    if not _key(base_url):
        return "offline", "no API key in WANDB_API_KEY or ~/.netrc"
    if not _answers(base_url):
        return "offline", f"{redact(base_url)} does not answer within {HOST_SECONDS} s"
    return "online", ""


def _key(base_url: str) -> str:
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(base_url).netloc)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return ""
    return found[2] if found and found[2] else ""


def _answers(base_url: str) -> bool:
    """Whether an HTTP server answers in time. In a thread, since looking up a name knows no timeout."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(base_url, method="HEAD"), timeout=HOST_SECONDS).close()
            answered.set()
        except urllib.error.HTTPError as error:
            if error.code < 500:
                answered.set()
        except (OSError, ValueError, http.client.HTTPException):
            pass

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HOST_SECONDS)
    return answered.is_set()


def _guard(what: str) -> Callable[[Callable[[], Any]], Any]:
    """A function that calls what it is given until the first exception, which becomes one warning."""
    failed = False

    def attempt(action: Callable[[], Any]) -> Any:
        nonlocal failed
        try:
            return None if failed else action()
        except Exception as error:
            failed = True
            _say_once(f"{what}: not logged any further: {_why(error)}")

    return attempt


def _why(error: Exception) -> str:
    """One line that names an error, without the key, whatever the error says."""
    return str(redact(f"{type(error).__name__}: {error}".splitlines()[0]))


@cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]", "_", text).lstrip(".")


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if isinstance(value, numbers.Real)}


def log_run(config: dict[str, Any], records: Iterable[dict[str, Any]], workdir: Path, run_name: str) -> None:
    """Tells the config's tracker of a network that has finished, as one run in the group of its workdir."""
    tracker = open_tracker(config["tracker"], config, workdir, run_name, workdir.name)
    for record in records:
        tracker.log(record, record["epoch"])
    tracker.finish({})


# name -> how it is called, the package that it needs, and what begins a run
_TRACKERS: dict[str, tuple[str, str, Callable[[dict[str, Any], Path, str, str], Tracker]]] = {
    "wandb": ("W&B", "wandb", _wandb),
    "tensorboard": ("TensorBoard", "tensorboardX", _tensorboard),
}
