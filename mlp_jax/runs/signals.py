"""SIGTERM and SIGINT as the orderly end of a run: at the next safe place, or at once."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mlp_jax.errors import Interrupted


@contextmanager
def signals() -> Iterator[list[str]]:
    """The names of the signals as they arrive, for the caller to look at; a second one interrupts at once."""
    arrived: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        if arrived:
            raise KeyboardInterrupt
        arrived.append(signal.Signals(number).name)

    with _handled_by(note):
        yield arrived


@contextmanager
def interruptible(folder: Path) -> Iterator[None]:
    """Signals raise `Interrupted` at once: for work whose finished parts are on the disk already."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)  # a second one does not wait for the lanes to stop
        raise interrupted(signal.Signals(number).name, folder)

    with _handled_by(stop):
        yield


def interrupted(by: str, folder: Path) -> Interrupted:
    """The error that says what stopped the run and how to go on."""
    return Interrupted(f"stopped by {by}; the same command goes on: --workdir={folder}")


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """The handler for both signals; without effect outside the main thread, where Python allows none."""
    here = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)} if here else {}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
