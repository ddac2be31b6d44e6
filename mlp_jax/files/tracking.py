"""Trackers beside metrics.jsonl: W&B, TensorBoard and trackio, each imported only where a config asks for it."""

import atexit
import contextlib
import http.client
import io
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
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mlp_jax.errors import as_flag, import_extra, redact
from mlp_jax.files.workdir import dumps, read_if_there

HOST_SECONDS = 3  # a W&B server that has not answered by then counts as out of reach
INIT_SECONDS = 20  # one that answers and then fails
FINISH_SECONDS = 60  # the longest wait for an upload at the end; what is left stays on disk for `wandb sync`
PICTURES = ("samples", "curves", "confusion_matrix")  # of a run's plots, those that a tracker shows
FIGURES = ("val/accuracy", "val/loss", "test/accuracy", "test/loss")  # by which TensorBoard compares hyperparameters


class Tracker(NamedTuple):
    """Two functions: `log(record, step)` during a run, `finish(summary, folder)` after it. Neither ever raises.

    `folder` is the run's own, whose pictures and confusion matrix go along; None where it has none.
    """

    log: Callable[[dict[str, Any], int], None]
    finish: Callable[[dict[str, Any], Path | None], None]


def open_tracker(name: str, config: dict[str, Any], workdir: Path, run_name: str, group: str = "") -> Tracker:
    """The tracker `name`: none, wandb, tensorboard or trackio. W&B and TensorBoard write below `workdir` alone.

    `config` is shown with the run, its URLs without passwords; `wandb_project` and `wandb_entity` are read from it.
    W&B never asks a question: without a key, or where its server does not answer within 3 s, it logs offline, and a
    line says how to upload that. Trackio keeps all runs of a project in one SQLite file, in TRACKIO_DIR or its own
    cache, and sends nothing. UserError where the library is not installed; whatever fails later is one warning.
    """
    if name == "none":
        return Tracker(lambda record, step: None, lambda summary, folder: None)
    title, _, start = _TRACKERS[name]
    check_installed(name)
    attempt = _guard(title)
    inner: Any = attempt(lambda: start(redact(config), workdir, run_name, group))
    return Tracker(
        lambda record, step: attempt(lambda: inner.log(_numbers(record), step)),
        lambda summary, folder: attempt(lambda: inner.finish(summary, folder)),
    )


def check_installed(name: str) -> None:
    """UserError where the library of the tracker `name` is not installed."""
    if name != "none":
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its telemetry prints of networks it cannot reach
        import_extra(_TRACKERS[name][1], f"tracker: {name}", name)


def _pictures(folder: Path | None) -> dict[str, Path]:
    paths = {name: folder / "plots" / f"{name}.png" for name in PICTURES} if folder else {}
    return {name: path for name, path in paths.items() if path.exists()}


def _confusion(folder: Path | None) -> tuple[list[str], list[list[int]]]:
    """The names of the classes, and how many of each row's class were taken for each column's; both may be empty."""
    found = read_if_there(folder / "evaluation.json") if folder else {}
    return found.get("class_names", []), found.get("matrix", [])


def _tensorboard(config: dict[str, Any], workdir: Path, run_name: str, group: str) -> Tracker:
    # Not its SummaryWriter: that writes from a thread, and waits for ever when the thread has died of a full disk.
    import numpy as np
    from PIL import Image
    from tensorboardX import summary as tensorboard
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event

    folder = workdir / "tensorboard" / _file_name(group) / _file_name(run_name)
    folder.mkdir(parents=True, exist_ok=True)
    writer = EventsWriter(str(folder / "events"))
    last = 0
    settings = {name: as_flag(value) if isinstance(value, list | dict) else value for name, value in config.items()}
    columns, begins, ends = tensorboard.hparams(settings, dict.fromkeys(FIGURES))

    def write(summaries: list[Any], step: int) -> None:
        for summary in summaries:
            writer.write_event(Event(wall_time=time.time(), step=step, summary=summary))
        writer.flush()

    def scalars(record: dict[str, Any]) -> list[Any]:
        return [tensorboard.scalar(name, value) for name, value in record.items() if math.isfinite(value)]

    def log(record: dict[str, Any], step: int) -> None:
        nonlocal last
        last = step
        write(scalars(record), step)

    def finish(summary: dict[str, Any], of: Path | None) -> None:
        images = {name: np.asarray(Image.open(path).convert("RGB")) for name, path in _pictures(of).items()}
        write([tensorboard.image(name, pixels, dataformats="HWC") for name, pixels in images.items()], last)
        write([*scalars(_tested(summary)), tensorboard.text("summary", dumps(summary)), ends], last)
        writer.close()

    write([columns, begins, tensorboard.text("config", dumps(config))], 0)
    return Tracker(log, finish)


def _trackio(config: dict[str, Any], workdir: Path, run_name: str, group: str) -> Tracker:
    import trackio

    project, last = config["wandb_project"], 0
    trackio.utils.TRACKIO_DIR.mkdir(parents=True, exist_ok=True)  # where that fails, its own thread fails in each run
    with _trackio_alone():
        # In a context of its own: a run that is under way in this process is not ended by this one.
        run = Context().run(
            partial(
                trackio.init,
                project=project,
                name=run_name,
                group=group or None,
                config=config,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        )
    _say_once(f"trackio: logging to {trackio.utils.TRACKIO_DIR}; look at it with: trackio show --project {project}")

    def log(record: dict[str, Any], step: int) -> None:
        nonlocal last
        last = step
        with _trackio_alone():  # it keeps `step` for itself, which is our epoch
            run.log({name: value for name, value in record.items() if name not in ("step", "epoch")}, step=step)

    def end() -> None:
        with _trackio_alone():
            run.finish()

    def finish(summary: dict[str, Any], folder: Path | None) -> None:
        classes, matrix = _confusion(folder)
        rows = [[name, *row] for name, row in zip(classes, matrix, strict=True)]
        tables = {"confusion": trackio.Table(columns=["true class", *classes], data=rows)} if rows else {}
        pictures = {name: trackio.Image(path) for name, path in _pictures(folder).items()}
        with _trackio_alone():
            run.log(_tested(summary) | tables | pictures, step=last)
        atexit.unregister(rescue)
        end()

    def rescue() -> None:
        _guard("trackio")(end)

    atexit.register(rescue)  # of a run that ends by an error: its thread would lose the last half second
    return Tracker(log, finish)


@contextlib.contextmanager
def _trackio_alone() -> Iterator[None]:
    """Trackio without a word on stdout, its warnings as errors, and cut off from Hugging Face, which it would ask
    for the user's name, and from the servers that its environment variables name."""
    from huggingface_hub import constants

    remote = {name: os.environ.pop(name) for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL") if name in os.environ}
    offline, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", module="trackio")
            yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        os.environ.update(remote)
    if caught:
        raise RuntimeError(str(caught[0].message))


def _wandb(config: dict[str, Any], workdir: Path, run_name: str, group: str) -> Tracker:
    import wandb

    run = _start(wandb, config, workdir, run_name, group)

    def finish(summary: dict[str, Any], folder: Path | None) -> None:
        shown: dict[str, Any] = {name: wandb.Image(str(path)) for name, path in _pictures(folder).items()}
        classes, matrix = _confusion(folder)
        if matrix:
            cells = [(i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) for _ in range(count)]
            true, predicted = zip(*cells, strict=True)
            shown["confusion"] = wandb.plot.confusion_matrix(y_true=true, preds=predicted, class_names=classes)
        if shown:
            run.log(shown)
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


def _tested(summary: dict[str, Any]) -> dict[str, Any]:
    """The figures that no epoch had."""
    return {name: value for name, value in _numbers(summary).items() if name.startswith("test/")}


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if isinstance(value, numbers.Real)}


def log_run(config: dict[str, Any], records: Iterable[dict[str, Any]], workdir: Path, run_name: str) -> None:
    """Tells the config's tracker of a network that has finished, as one run in the group of its workdir."""
    tracker = open_tracker(config["tracker"], config, workdir, run_name, workdir.name)
    for record in records:
        tracker.log(record, record["epoch"])
    tracker.finish({}, None)


# name -> how it is called, the package that it needs, and what begins a run
_TRACKERS: dict[str, tuple[str, str, Callable[[dict[str, Any], Path, str, str], Tracker]]] = {
    "wandb": ("W&B", "wandb", _wandb),
    "tensorboard": ("TensorBoard", "tensorboardX", _tensorboard),
    "trackio": ("trackio", "trackio", _trackio),
}
