"""The notebooks run from top to bottom, and the one on one screen computes what the library does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlp_jax
from mlp_jax.model import Layer

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs/notebooks").glob("*.md"))
CELL = re.compile(r"^```\{code-cell\} python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def cells(path: Path) -> list[str]:
    return CELL.findall(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    """As a script, in an empty folder, without a screen."""
    script = tmp_path / "notebook.py"
    script.write_text("\n".join(cells(path)))
    root = str(Path(__file__).parents[2])
    environment = {"PYTHONPATH": root, "MPLBACKEND": "Agg", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    kept = {name: value for name, value in os.environ.items() if name.startswith("MLP_JAX_DATA")}
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment | kept, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def screen() -> dict:
    names: dict = {}
    first = cells(Path(__file__).parents[2] / "docs/notebooks/one_screen.md")[0]
    assert len(first.splitlines()) <= 60
    exec(first, names)
    return names


def test_one_screen_is_the_library(screen):
    params = screen["init"](jax.random.key(0), (6, 5, 4, 3))
    layers = tuple(Layer(*pair) for pair in params)
    x, y = jax.random.normal(jax.random.key(1), (8, 6)), jnp.arange(8) % 3
    np.testing.assert_allclose(screen["forward"](params, x)[0], mlp_jax.forward(layers, x), rtol=1e-5)
    value, grads = mlp_jax.grad(layers, x, y)
    np.testing.assert_allclose(screen["loss"](params, x, y), value, rtol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(screen["gradient"](params, x, y)), jax.tree.leaves(grads), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_an_epoch_on_one_screen_is_the_librarys_sgd(screen):
    params = screen["init"](jax.random.key(0), (6, 5, 3))
    x, y = jax.random.normal(jax.random.key(1), (12, 6)), jnp.arange(12) % 3
    order = np.random.default_rng(0).permutation(12).reshape(3, 4)
    sgd, layers = mlp_jax.optimizers.sgd(0.1), tuple(Layer(*pair) for pair in params)
    for rows in order:
        updates, _ = sgd.update(mlp_jax.grad(layers, x[rows], y[rows])[1], (), layers)
        layers = jax.tree.map(jnp.add, layers, updates)
    epoch = screen["epoch"](params, x, y, order, 0.1)
    for ours, theirs in zip(jax.tree.leaves(epoch), jax.tree.leaves(layers), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
