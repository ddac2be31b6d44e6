"""The live line: on a terminal, off one, and what it says."""

import io
import subprocess
import sys
from contextlib import redirect_stderr

import pytest

from mlp_jax.files.progress import epoch_text, progress

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


def test_elsewhere_nothing_is_written_and_rich_not_even_imported():
    code = """
import sys
from mlp_jax.files.progress import progress
with progress(2, "epochs") as show:
    show(1, "text")
print("rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_without_validation_only_the_training_is_epoch_textd():
    assert epoch_text(RECORD | {"val/loss": None, "val/accuracy": None}) == "train 0.5123 87.50%"
