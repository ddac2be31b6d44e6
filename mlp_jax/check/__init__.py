"""Whose gradient is wrong, and why: checks of networks, gradients and optimizers that somebody else has written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlp_jax.check.findings import Findings


def submission(path: str | Path, seed: int = 0) -> Findings:
    """Checks a Python file, an .npy file with its best_config.json, or a folder of one submission, as --mode=check.

    Its code runs in processes of its own. Returns the findings, which print as a table; raises UserError where there
    is no such file or folder.
    """
    from mlp_jax.check import marking  # not before it is needed: a process of a submission has no use for it
    from mlp_jax.check.findings import Findings
    from mlp_jax.errors import UserError
    from mlp_jax.runs.defaults import get_config

    if not Path(path).exists():
        raise UserError(f"path: there is no file or folder {str(path)!r}")
    return Findings(marking.submission(Path(path), seed, get_config().data_dir).findings)


def __getattr__(name: str) -> Any:
    """`gradients`, `optimizer` and `network`, which take what is at hand in a notebook and run it in this process."""
    if name in ("gradients", "optimizer", "network"):
        from mlp_jax.check import interactive

        return getattr(interactive, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
