"""The live line: on a terminal, off one, and what it says."""

import io
import subprocess
import sys
from contextlib import redirect_stderr

import pytest

from mlp_jax.files.progress import describe, progress

RECORD = {"train/loss": 0.51234, "train/accuracy": 0.875, "val/loss": 0.6, "val/accuracy": 0.75}


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A colourless terminal of 100 columns."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    return _Terminal()


def test_a_terminal_shows_how_far_it_is_and_the_text(terminal, capsys):
    with redirect_stderr(terminal), progress(7, "epochs") as show:
        show(3, describe(RECORD))
    written = terminal.getvalue()
    assert "0/7 epochs" in written
    assert "3/7 epochs" in written
    assert "train 0.5123 87.50% · val 0.6000 75.00%" in written
    assert "left" in written
    assert capsys.readouterr().out == ""


def test_the_line_goes_away_and_the_cursor_comes_back(terminal):
    with pytest.raises(KeyError), redirect_stderr(terminal), progress(2, "trials"):
        raise KeyError
    written = terminal.getvalue()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # shown after it was hidden
    assert written.rstrip().endswith("\x1b[2K")  # the line is erased last of all


def test_more_than_the_total_does_no_harm(terminal):
    with redirect_stderr(terminal), progress(2, "trials") as show:
        show(5, "text")
    assert "5/2 trials" in terminal.getvalue()


def test_nothing_is_written_elsewhere(capsys):
    with progress(7, "epochs") as show:
        show(3, "text")
    assert capsys.readouterr() == ("", "")


def test_rich_is_not_even_imported_elsewhere():
    code = """
import sys
from mlp_jax.files.progress import progress
with progress(2, "epochs") as show:
    show(1, "text")
print("rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_without_validation_only_the_training_is_described():
    assert describe(RECORD | {"val/loss": None, "val/accuracy": None}) == "train 0.5123 87.50%"
