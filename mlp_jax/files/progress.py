"""The live line of a run on a terminal, and a line every few seconds elsewhere, both on standard error."""

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

SECONDS = 5.0  # between two lines of a log


class Show(Protocol):
    """Moves the line to `done` of the total and says `text` beside it.

    `left` is the share of the work that is left, from which the time left is estimated: 1 − done/total if not given.
    """

    def __call__(self, done: float, text: str, left: float | None = None) -> None: ...


@contextmanager
def progress(total: float, unit: str) -> Iterator[Show]:
    """A line that is as wide as the terminal at most: `done/total unit`, a bar, a text and the time left.

    Where standard error is no terminal it is printed at most every 5 seconds, without bar and time.
    """

    def count(done: float) -> str:
        return f"{done:.0f}{f'/{total:.0f}' if math.isfinite(total) else ''} {unit}"

    if not sys.stderr.isatty():
        last, lock = time.monotonic(), threading.Lock()

        def log(done: float, text: str, left: float | None = None) -> None:
            nonlocal last
            with lock:
                if time.monotonic() - last >= SECONDS:
                    print(": ".join(filter(None, (count(done), text))), file=sys.stderr, flush=True)
                    last = time.monotonic()

        yield log
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    shrinks = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.fields[count]}"),
        BarColumn(bar_width=12),
        TextColumn("{task.description}", markup=False, table_column=shrinks),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, expand=True, speed_estimate_period=3600) as bar:
        task = bar.add_task("", total=1.0, count=count(0))

        def show(done: float, text: str, left: float | None = None) -> None:
            bar.update(task, completed=done / total if left is None else 1 - left, description=text, count=count(done))

        yield show


def among(ended: str, record: dict[str, Any]) -> str:
    """What the line of several trainings says: what came of those that have ended, and the last epoch of another."""
    return " · ".join(filter(None, (ended, f"epoch {record['epoch']}", epoch_text(record))))


def epoch_text(record: dict[str, Any]) -> str:
    """The losses and accuracies of an epoch as the line shows them."""
    text = f"train {record['train/loss']:.4f} {record['train/accuracy']:.2%}"
    if record["val/accuracy"] is not None:
        text += f" · val {record['val/loss']:.4f} {record['val/accuracy']:.2%}"
    return text
