"""Flips the sign of every derivative written by hand, one at a time, and asks `--mode=gradcheck` to notice.

Run `python -m tests.shared.sign_flips`: one line a flip, exit 1 if one went unnoticed. `test_gradcheck.py` does the
same within one process, on a smaller net.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COMMAND = ("main.py", "--mode=gradcheck", "--config.dataset=digits", "--config.hidden_sizes=4,3")


class Flip(NamedTuple):
    """A change of the one place of `file` that reads `old`, wrong for `activation` or, if empty, for every one."""

    file: str
    old: str
    new: str
    activation: str = ""
    norm: str = "none"
    term: str = ""  # a field without which the place is not read


FLIPS = (
    Flip("model.py", "z: z, lambda z, a: jnp.ones_like(z)", "z: z, lambda z, a: -jnp.ones_like(z)", "identity"),
    Flip("model.py", "z, a: a * (1 - a)", "z, a: -a * (1 - a)", "sigmoid"),
    Flip("model.py", "z, a: a * (1 - a)", "z, a: a * (1 + a)", "sigmoid"),
    Flip("model.py", "z, a: 1 - a * a", "z, a: a * a - 1", "tanh"),
    Flip("model.py", "z, a: 1 - a * a", "z, a: 1 + a * a", "tanh"),
    Flip("model.py", "a > 0, jnp.ones_like(a), slope", "a > 0, -jnp.ones_like(a), slope", "relu"),
    Flip("model.py", "a > 0, jnp.ones_like(a), slope", "a > 0, jnp.ones_like(a), -slope", "leaky_relu"),
    Flip("model.py", "jnp.minimum(a, 0) + 1", "-jnp.minimum(a, 0) - 1", "elu"),
    Flip("model.py", "jnp.minimum(a, 0) + 1", "1 - jnp.minimum(a, 0)", "elu"),
    Flip("model.py", "jnp.minimum(a, 0) + 1", "jnp.minimum(a, 0) - 1", "elu"),
    Flip("model.py", "a: _normal_cdf(z) + z * _normal_pdf(z)", "a: -_normal_cdf(z) - z * _normal_pdf(z)", "gelu"),
    Flip("model.py", "a: _normal_cdf(z) + z * _normal_pdf(z)", "a: _normal_cdf(z) - z * _normal_pdf(z)", "gelu"),
    Flip("model.py", "jnp.exp(-0.5 * z * z)", "jnp.exp(0.5 * z * z)", "gelu"),
    Flip("model.py", "z, a: a + jax.nn.sigmoid(z) * (1 - a)", "z, a: -a - jax.nn.sigmoid(z) * (1 - a)", "swish"),
    Flip("model.py", "z, a: a + jax.nn.sigmoid(z) * (1 - a)", "z, a: a - jax.nn.sigmoid(z) * (1 - a)", "swish"),
    Flip("model.py", "z, a: a + jax.nn.sigmoid(z) * (1 - a)", "z, a: a + jax.nn.sigmoid(z) * (1 + a)", "swish"),
    Flip("model.py", "lambda u: (u, ()), lambda delta: delta", "lambda u: (u, ()), lambda delta: -delta"),
    Flip("model.py", "return inverse * (delta - jnp", "return -inverse * (delta - jnp", norm="layer"),
    Flip("model.py", "return inverse * (delta - jnp", "return inverse * (delta + jnp", norm="layer"),
    Flip("model.py", "keepdims=True) - v * along", "keepdims=True) + v * along", norm="layer"),
    Flip("losses.py", "return jax.nn.softmax(logits) - targets", "return targets - jax.nn.softmax(logits)"),
    Flip("losses.py", "return jax.nn.softmax(logits) - targets", "return targets + jax.nn.softmax(logits)"),
    Flip("losses.py", "return probabilities * (d - jnp", "return -probabilities * (d - jnp"),
    Flip("losses.py", "return probabilities * (d - jnp", "return probabilities * (d + jnp"),
    Flip("losses.py", "d = 2 * (probabilities - targets)", "d = 2 * (targets - probabilities)"),
    Flip("losses.py", "d = 2 * (probabilities - targets)", "d = 2 * (probabilities + targets)"),
    Flip("gradients.py", "delta = step.weights[:, None] *", "delta = -step.weights[:, None] *"),
    Flip("gradients.py", "grad_w = product(", "grad_w = -product("),
    Flip("gradients.py", "jnp.sum(delta, axis=0)", "-jnp.sum(delta, axis=0)"),
    Flip("gradients.py", "grad_w + weight_decay * w", "grad_w - weight_decay * w"),
    Flip("gradients.py", "product(delta, w.T)", "product(delta, -w.T)"),
    Flip("gradients.py", "below * step.masks[index - 1]", "below * -step.masks[index - 1]"),
    Flip("gradients.py", "delta = below * df(", "delta = below * -df("),
    Flip("losses.py", "return p * (log_p - jnp", "return -p * (log_p - jnp", term="confidence_penalty"),
    Flip("losses.py", "return p * (log_p - jnp", "return p * (log_p + jnp", term="confidence_penalty"),
    Flip("losses.py", "return jax.nn.softmax(logits) - jax", "return -jax.nn.softmax(logits) + jax", term="vat_weight"),
    Flip("losses.py", "return jax.nn.softmax(logits) - jax", "return jax.nn.softmax(logits) + jax", term="vat_weight"),
    Flip("gradients.py", "delta = delta + factor", "delta = delta - factor", term="confidence_penalty"),
    Flip("gradients.py", "delta = factor *", "delta = -factor *", term="vat_weight"),
    Flip("gradients.py", "(below, params[0].w.T)", "(below, -params[0].w.T)", term="vat_weight"),
    Flip("gradients.py", "jax.tree.map(jnp.add, grads", "jax.tree.map(jnp.subtract, grads", term="vat_weight"),
)  # fmt: skip


def flipped(flip: Flip, source: str) -> str:
    """The text of `flip.file` with the flip made."""
    assert source.count(flip.old) == 1, f"{flip.file} has {source.count(flip.old)} places that read {flip.old!r}"
    return source.replace(flip.old, flip.new)


def gradcheck_status(folder: Path, norm: str = "none", term: str = "") -> int:
    """The exit status of gradcheck with the sources in `folder`."""
    cache = {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, *COMMAND, f"--config.norm={norm}", *([f"--config.{term}=0.5"] if term else [])]
    done = subprocess.run(command, cwd=folder, env={**os.environ, **cache}, capture_output=True, text=True, check=False)
    if "Traceback" in done.stderr:
        sys.exit(f"gradcheck broke down instead of judging:\n{done.stderr}")
    return done.returncode


def main() -> int:
    """Every flip in a copy of the sources; how many went unnoticed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("mlp_jax", "configs"):
            shutil.copytree(ROOT / part, folder / part)
        shutil.copy(ROOT / "main.py", folder)
        assert gradcheck_status(folder) == 0, "gradcheck fails on the sources as they are"
        missed = 0
        for flip in FLIPS:
            target = folder / "mlp_jax" / flip.file
            right = target.read_text()
            target.write_text(flipped(flip, right))
            status = gradcheck_status(folder, flip.norm, flip.term)
            target.write_text(right)
            missed += status != 1
            print(f"exit {status}  {flip.file:13}{flip.old}  →  {flip.new}", flush=True)
    print(f"{len(FLIPS) - missed} of {len(FLIPS)} flips noticed")
    return missed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
