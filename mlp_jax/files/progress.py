"""The live line of a run on a terminal; silent elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress(total: float, unit: str) -> Iterator[Callable[[float, str], None]]:
    """A line with a bar, `done/total unit`, a text and the time left, where standard error is a terminal.

    The function that it gives moves the line to `done` (of the total) and says `text` beside it.
    """
    if not sys.stderr.isatty():
        yield lambda done, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
        BarColumn(bar_width=20),
        TextColumn("{task.description}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def epoch_text(record: dict[str, Any]) -> str:
    """The losses and accuracies of an epoch as the line shows them."""
    text = f"train {record['train/loss']:.4f} {record['train/accuracy']:.2%}"
    if record["val/accuracy"] is not None:
        text += f" · val {record['val/loss']:.4f} {record['val/accuracy']:.2%}"
    return text
