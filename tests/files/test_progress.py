"""The live line: on a terminal, off one, and what it says."""

import io
import re
import subprocess
import sys
from contextlib import redirect_stderr
from functools import partialmethod

import pytest
from rich.progress import Progress

from mlp_jax.files.progress import epoch_text, progress

PROGRESS = Progress.__init__
RECORD = {"train/loss": 0.51234, "train/accuracy": 0.875, "val/loss": 0.6, "val/accuracy": 0.75}


def _show_and_fail(show):
    show(3, epoch_text(RECORD))
    raise KeyError


def test_a_terminal_shows_how_far_it_is_and_the_line_goes_away_after_an_error_too(monkeypatch, capsys):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    with pytest.raises(KeyError), redirect_stderr(terminal), progress(7, "epochs") as show:
        _show_and_fail(show)
    written = terminal.getvalue()
    assert "0/7 epochs" in written
    assert "3/7 epochs" in written
    assert "train 0.5123 87.50% · val 0.6000 75.00%" in written
    assert "left" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is shown after it was hidden
    assert written.rstrip().endswith("\x1b[2K")  # the line is erased last of all
    assert capsys.readouterr().out == ""


def test_the_line_fits_a_narrow_terminal_and_estimates_from_the_work_left(monkeypatch):
    for name, value in (("TERM", "xterm"), ("COLUMNS", "80"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    terminal, clock = io.StringIO(), iter(range(0, 10_000, 10))
    terminal.isatty = lambda: True
    monkeypatch.setattr("rich.progress.Progress.__init__", partialmethod(PROGRESS, get_time=lambda: next(clock)))
    with redirect_stderr(terminal), progress(1234, "trials") as show:
        for done, left in ((1, 0.9), (2, 0.8), (3, 0.5)):
            show(done, "best val/accuracy 0.9861 with " + "hl_4_sz_64_" * 9, left)
    written = re.sub(r"\x1b\[[0-9?]*[A-Za-z]", "", terminal.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", written) if line.strip()]
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert "3/1234 trials" in lines[-1]
    assert "best val/accuracy 0.9861" in lines[-1]
    assert re.search(r"\d:\d\d:\d\d\s+left", lines[-1])


def test_elsewhere_a_line_is_written_every_few_seconds_and_rich_not_even_imported():
    code = """
import sys, time
from mlp_jax.files.progress import progress
now = 0.0
time.monotonic = lambda: now
with progress(9, "epochs") as show:
    for epoch in range(1, 10):
        now += 2
        show(epoch, f"text {epoch}")
with progress(float("inf"), "trials") as show:
    now += 60
    show(1, "text", 0.5)
    now += 60
    show(2, "", 0.3)
print("rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert done.stderr.splitlines() == [
        "3/9 epochs: text 3",
        "6/9 epochs: text 6",
        "9/9 epochs: text 9",
        "1 trials: text",
        "2 trials",
    ]


def test_without_validation_only_the_training_is_said():
    assert epoch_text(RECORD | {"val/loss": None, "val/accuracy": None}) == "train 0.5123 87.50%"
