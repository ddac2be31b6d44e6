"""Where training converges, over the learning rates of two layers: its boundary, and the fractal dimension of that.

The experiment of Sohl-Dickstein 2024, "The boundary of neural network trainability is fractal", arXiv:2402.06184, with
a net of width 8 in place of 16, so that a million trainings take about a minute on two cores.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.files.progress import progress
from mlp_jax.questions.lab import Answer, Lab
from mlp_jax.reports import plots
from mlp_jax.reports.html import percent

TITLE = "The boundary of trainability"
QUESTION = "For which learning rates of the two layers does training converge, and how rough is the boundary of these?"
SIDES = {"quick": 1024, "full": 2048}  # pixels of a side, a whole training each
WIDTH, EXAMPLES, STEPS = 8, 16, 300
FIRST, SECOND = (0.5, 3.5), (0.7, 1.9)  # the decades of the first and of the second layer's learning rate
CHUNK = 1024  # trainings at once; their activations stay in a core's cache
LAST = 20  # losses by which a training has converged or not
LARGEST = 1e6  # what a loss counts at most, in units of the first


class Problem(NamedTuple):
    """Inputs (examples, width), targets (examples,), and first weights (width, width) and (width,), all of N(0, 1)."""

    x: np.ndarray
    y: np.ndarray
    w0: np.ndarray
    w1: np.ndarray


class Map(NamedTuple):
    """Of each training: Σ v and Σ 1/v over its steps, v a loss over the first one, and whether it converged."""

    total: np.ndarray
    inverse: np.ndarray
    converged: np.ndarray


class Dimension(NamedTuple):
    """A box-counting dimension with the standard error of its fit, and the boxes (side, count) that it is fitted to."""

    value: float
    error: float
    counts: Sequence[tuple[int, int]]


def problem(seed: int, width: int = WIDTH, examples: int = EXAMPLES) -> Problem:
    """Data and weights drawn by `seed`."""
    draw = np.random.default_rng(seed).standard_normal
    shapes = (examples, width), (examples,), (width, width), (width,)
    return Problem(*(draw(shape).astype(np.float32) for shape in shapes))


@partial(jax.jit, static_argnums=3)
def train(given: Problem, rate0: jax.Array, rate1: jax.Array, steps: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`steps` of full-batch gradient descent for each pair of rates, (pairs,): Σ v, Σ 1/v and the mean of the last v.

    The net is ŷ = w1·tanh(√(2/n)·w0·x)/n, the loss the mean of (ŷ − y)², v the loss over that of the first step. A v
    that is not finite or too large counts as the largest. The pairs are the last axis of all arrays, so that the
    products by x are one of matrices.
    """
    examples, width = given.x.shape
    scale0, scale1 = float(np.sqrt(2 / width)), 1 / width
    pairs, last = len(rate0), min(LAST, steps)

    def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        w0, w1, first, total, inverse, end = carry
        h = jnp.tanh(scale0 * jnp.einsum("mi,ijp->mjp", given.x, w0))
        residual = scale1 * jnp.sum(h * w1, axis=1) - given.y[:, None]
        loss = jnp.mean(residual**2, axis=0)
        delta = (2 / examples * scale1) * residual[:, None]
        grad1 = jnp.sum(h * delta, axis=0)
        grad0 = scale0 * jnp.einsum("mi,mjp->ijp", given.x, delta * w1 * (1 - h * h))
        first = jnp.where(number == 0, loss, first)
        v = loss / first
        v = jnp.where(v < LARGEST, v, LARGEST)  # NaN is not below it
        end = end + jnp.where(number >= steps - last, v, 0)
        return (w0 - rate0 * grad0, w1 - rate1 * grad1, first, total + v, inverse + 1 / v, end), None

    nothing = jnp.zeros(pairs)
    w0 = jnp.broadcast_to(given.w0[:, :, None], (width, width, pairs))
    w1 = jnp.broadcast_to(given.w1[:, None], (width, pairs))
    start = (w0, w1, nothing, nothing, nothing, nothing)
    (_, _, _, total, inverse, end), _ = jax.lax.scan(step, start, jnp.arange(steps))
    return total, inverse, end / last


def computed(given: Problem, first: np.ndarray, second: np.ndarray, steps: int = STEPS) -> Map:
    """The map over first × second, rows of one rate of the second layer; the chunks go round all devices."""
    rates = [grid.ravel().astype(np.float32) for grid in np.meshgrid(first, second)]
    devices = jax.devices()
    parts: list[Any] = []
    with progress(len(rates[0]), "trainings") as show:
        for number, start in enumerate(range(0, len(rates[0]), CHUNK)):
            chunk = [rate[start : start + CHUNK] for rate in rates]
            placed = jax.device_put((given, *chunk), devices[number % len(devices)])
            parts.append(train(*placed, steps))
            jax.block_until_ready(parts[-2 * len(devices) :][0])  # a device has its next chunk while it computes
            show(start, "")
    shape = len(second), len(first)
    total, inverse, end = (np.concatenate(part).reshape(shape) for part in zip(*jax.device_get(parts), strict=True))
    return Map(total, inverse, end < 1)


def boundary(converged: np.ndarray) -> np.ndarray:
    """The pixels (rows, columns) whose right or upper neighbour ended otherwise."""
    edge = np.zeros(converged.shape, bool)
    edge[:, :-1] |= converged[:, :-1] != converged[:, 1:]
    edge[:-1] |= converged[:-1] != converged[1:]
    return edge


def dimension(points: np.ndarray) -> Dimension:
    """D of N(s) ~ s^−D: N boxes of s × s pixels hold a point of the square mask, s = 1, 2, 4, … to an eighth of a side.

    Least squares through log N over log s; NaN where the mask is empty or too small for three sizes.
    """
    counts = []
    side = 1
    while 8 * side <= len(points):
        whole = len(points) // side * side
        boxes = points[:whole, :whole].reshape(whole // side, side, whole // side, side)
        counts.append((side, int(boxes.any(axis=(1, 3)).sum())))
        side *= 2
    if len(counts) < 3 or not counts[-1][1]:
        return Dimension(float("nan"), float("nan"), counts)
    x, y = np.log2(np.array(counts, float)).T
    x, y = x - x.mean(), y - y.mean()
    slope = x @ y / (x @ x)
    error = float(np.sqrt(np.sum((y - slope * x) ** 2) / (len(x) - 2) / (x @ x)))
    return Dimension(float(-slope), error, counts)


def answer(lab: Lab) -> Answer:
    """One training a pixel; its own network and data, drawn by the config's seed, and no image at all."""
    side = SIDES[lab.config.budget]
    given = problem(lab.base.seed)
    found = computed(given, np.logspace(*FIRST, side), np.logspace(*SECOND, side))
    path = lab.pictures("trainability") / "trainability.png"
    draw(found, path)
    fractal = dimension(boundary(found.converged))
    table = [{"box, pixels": size, "boxes on the boundary": count} for size, count in fractal.counts]
    sentences = [
        f"One hidden layer of {WIDTH} tanh units, {EXAMPLES} random examples, squared error, {STEPS} steps of "
        f"full-batch gradient descent in float32, at {side} × {side} pairs of learning rates; a training has converged "
        f"if the mean of its last {LAST} losses is below the first.",
        shares(found.converged),
        rough(fractal),
    ]
    return Answer(sentences, [path], table)


def shares(converged: np.ndarray) -> str:
    """How many trainings converge, and which layer's learning rate decides it: the one whose halves differ more."""
    if converged.all() or not converged.any():
        return f"{'All' if converged.any() else 'None'} of these trainings converge, so there is no boundary."
    rows, columns = converged.shape
    second = converged[: rows // 2].mean() - converged[rows - rows // 2 :].mean()
    first = converged[:, : columns // 2].mean() - converged[:, columns - columns // 2 :].mean()
    opening = f"{percent(converged.mean())} of the trainings converge"
    if abs(first) == abs(second):
        return f"{opening}; both layers' rates decide it alike."
    strong, name = (second, "second") if abs(second) > abs(first) else (first, "first")
    side = "lower" if strong > 0 else "upper"
    return (
        f"{opening}; within this window the {name} layer's rate decides it more: its {side} half converges "
        f"{100 * abs(strong):.0f} points more often, for the other layer the halves differ by "
        f"{100 * min(abs(first), abs(second)):.0f}."
    )


def rough(found: Dimension) -> str:
    """Whether the boundary is rougher than a smooth curve, of dimension 1, beyond these."""
    if not np.isfinite(found.value):
        return "There is no boundary whose dimension could be fitted."
    sizes = f"two standard errors of the fit to boxes of {found.counts[0][0]} to {found.counts[-1][0]} pixels"
    opening = f"Box counting gives the boundary a dimension of {found.value:.2f} ± {2 * found.error:.2f} ({sizes})"
    if abs(found.value - 1) <= 2 * found.error:
        return f"{opening}: no difference from a smooth curve, which has 1, beyond two standard errors of the fit."
    if found.value > 1:
        return f"{opening}: rougher than a smooth curve, which has 1, as a fractal is (the paper: 1.17 to 1.98)."
    return f"{opening}: it is less than a curve, which has 1: islands rather than a line."


def draw(found: Map, path: Path) -> None:
    """Blue where training converges, the darker the sooner; orange where it does not, likewise."""
    from matplotlib.colors import LinearSegmentedColormap

    figure, (axes,) = plots.new_figure(9.6, 9.2)
    extent = (*FIRST, *SECOND)
    for values, mine, dark in ((found.total, found.converged, "#02243b"), (found.inverse, ~found.converged, "#4a1500")):
        color = plots.BLUE if mine is found.converged else plots.ORANGE
        colors = LinearSegmentedColormap.from_list("", [dark, color, "#f2d27a" if color == plots.ORANGE else "#d8f0fa"])
        image = np.ma.masked_where(~mine, np.where(mine, ordered(values, mine), 0))
        axes.imshow(image, origin="lower", extent=extent, aspect="auto", cmap=colors, vmin=0, vmax=1,
                    interpolation="nearest")  # fmt: skip
    plots.dress(axes, "learning rate of the first layer", "learning rate of the second layer")
    axes.grid(visible=False)
    plots.heading(axes, f"{found.converged.size:,} trainings: blue converge, orange diverge; darker is sooner")
    for axis, (low, high) in ((axes.xaxis, FIRST), (axes.yaxis, SECOND)):
        marks = [m for d in range(int(np.floor(low)), int(np.ceil(high))) for m in (1 * 10**d, 2 * 10**d, 5 * 10**d)]
        shown = [m for m in [*marks, 10 ** int(np.ceil(high))] if low <= np.log10(m) <= high]
        axis.set_ticks(list(np.log10(shown)), labels=[f"{mark:g}" for mark in shown])
    plots.save(figure, path)


def ordered(values: np.ndarray, mine: np.ndarray) -> np.ndarray:
    """Each value of those marked as its rank among them, 0 to 1, so that every shade covers as many pixels."""
    ranks = np.zeros(values.shape)
    if mine.any():
        ranks[mine] = np.argsort(np.argsort(values[mine], kind="stable"), kind="stable") / max(1, mine.sum() - 1)
    return ranks
