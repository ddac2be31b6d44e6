"""Workdirs of small runs for tests: without pictures, read back, broken."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlp_jax.reports import run as pictures
from mlp_jax.runs import run as runs
from tests.shared.idx_files import write_idx_folder
from tests.shared.training import small_config


class Killed(BaseException):
    """What kill -9 is to the code that it meets: nothing after it runs."""


@contextmanager
def numbers_alone() -> Iterator[None]:
    """Runs without pictures and pages, which take most of a small run's time."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (pictures, runs):
            for name in ("write_run_plots", "write_run_report"):
                patch.setattr(module, name, lambda *_: None, raising=False)
        yield


def trained(folder: Path, arrays: dict[str, Any] | None = None, **fields: Any) -> Path:
    """The workdir of a run on IDX files of these arrays."""
    write_idx_folder(folder / "patterns", arrays)
    config = small_config(dataset=str(folder / "patterns"), **fields)
    with numbers_alone():
        runs.run(config, folder / "run")
    return folder / "run"


def at_each_record(patch: pytest.MonkeyPatch, action: Callable[[int], object]) -> None:
    """Calls `action(epoch)` when an epoch's record is written, before its checkpoint."""
    tracker = SimpleNamespace(log=lambda record, epoch: action(epoch), finish=lambda summary, folder: None)
    patch.setattr(runs, "open_tracker", lambda *_: tracker)


def checkpoints(folder: Path) -> dict[int, Path]:
    """The complete checkpoints of a run by their steps, in order."""
    found = {int(path.stem): path for path in (folder / "checkpoints").glob("*") if path.stem.isdigit()}
    return dict(sorted(found.items()))


def flip_a_bit(folder: Path) -> None:
    """Damages the newest checkpoint of a run, within its largest array."""
    newest = list(checkpoints(folder).values())[-1]
    file = max((path for path in (newest, *newest.rglob("*")) if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def edit(path: Path, **changes: Any) -> None:
    """Changes fields of a file that vouches for itself, and takes its sum away, so that it is read as it is."""
    fields = json.loads(path.read_text())
    del fields["sha256"]
    path.write_text(json.dumps(fields | changes))
