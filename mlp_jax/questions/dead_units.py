"""Dead units and the distribution of activations at a high learning rate: ReLU against tanh."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from mlp_jax.hparams import Static
from mlp_jax.lanes.population import Member
from mlp_jax.model import Params, forward
from mlp_jax.questions.compare import Sample, compare, listed, mean_sd, points, versus
from mlp_jax.questions.lab import Answer, Lab, accuracies, curves, diverged, row, series
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken
from mlp_jax.runs.run import rows_of

TITLE = "Dead units"
QUESTION = (
    "How many hidden units die at a learning rate of 0.1, with ReLU and with tanh, and what becomes of the activations?"
)
RATE = 0.1
ACTIVATIONS, OPTIMIZERS = ("relu", "tanh"), ("sgd", "adam")
IMAGES = 1000  # held-out ones whose activations are counted
# Bins of the activations: ReLU's 0 has one of its own, on a logarithmic scale above; tanh's outermost are saturated.
EDGES = {
    "relu": np.array([0, np.nextafter(0, 1), *np.logspace(-2, 3, 46)]),
    "tanh": np.array([-1, *np.linspace(-0.99, 0.99, 46), np.nextafter(1, 2)]),
}
TICKS: dict[str, Sequence[float]] = {"relu": (0, 0.1, 1, 10, 100), "tanh": (-1, 0, 1)}
FLAT = {"relu": "exactly 0", "tanh": "beyond ±0.99"}


def answer(lab: Lab) -> Answer:
    """The share of units whose slope is exactly 0 on every validation image, after every epoch."""
    fields: dict[str, dict[str, Any]] = {
        f"{spoken(activation)}, {spoken(optimizer)}": {
            "activation": activation, "optimizer": optimizer, "learning_rate": RATE, "probes": True,
        }
        for optimizer in OPTIMIZERS
        for activation in ACTIVATIONS
    }  # fmt: skip
    runs = lab.train(fields)
    shares = {name: dead(members, lab.base.hidden_sizes) for name, members in runs.items()}
    reached = {name: accuracies(members) for name, members in runs.items()}
    panels = [
        plots.Panel({name: (range(1, share.shape[1] + 1), share) for name, share in shares.items()}, "epoch",
                    "dead hidden units", f"Units without gradient, learning rate {RATE:g}", percent=True),
        plots.Panel(curves(runs), "epoch", "validation accuracy", "What it costs", percent=True),
    ]  # fmt: skip
    spreads = distributions(lab, runs)
    flat = {name: flat_shares(found, fields[name]["activation"]) for name, found in spreads.items()}
    pictures = [lab.draw("dead_units", panels)]
    for optimizer in OPTIMIZERS:
        path = lab.pictures("dead_units") / f"activations_{optimizer}.png"
        own = [name for name in runs if fields[name]["optimizer"] == optimizer]
        ridges = [ridge for name in own for ridge in _ridges(name, spreads[name], fields[name]["activation"])]
        plots.ridges(ridges, len(lab.base.hidden_sizes), "activation", path)
        pictures.append(path)
    last = {name: [float(seed[np.isfinite(seed)][-1]) for seed in share] for name, share in shares.items()}
    table = [
        {"activation": spoken(fields[name]["activation"]), "optimizer": spoken(fields[name]["optimizer"]),
         "dead units": f"{100 * np.mean(last[name]):.2f} %",
         "flat activations": f"{100 * np.mean(flat[name][:, -1]):.2f} %", **row(members)}
        for name, members in runs.items()
    ]  # fmt: skip
    sentences = [
        f"Hidden layers of {listed(list(map(str, lab.base.hidden_sizes)))} units, {spoken(lab.base.init)} weights, "
        f"batches of {lab.base.batch_size}; a unit counts as dead whose slope is exactly 0 on every validation image "
        "(a ReLU that is never on, a tanh that float32 cannot tell from ±1). Activations are those of "
        f"{IMAGES:,} held-out images after every epoch; flat are those of the last hidden layer whose slope is 0 (a "
        "ReLU at exactly 0) or below 0.02 (a tanh beyond ±0.99).",
    ]
    for optimizer in OPTIMIZERS:
        relu, tanh = (f"{spoken(a)}, {spoken(optimizer)}" for a in ACTIVATIONS)
        sentences.append(
            versus(f"Dead after the last epoch with {spoken(optimizer)}", "ReLU", last[relu], "tanh", last[tanh])
        )
        sentences.append(versus(f"Accuracy with {spoken(optimizer)}", "ReLU", reached[relu], "tanh", reached[tanh]))
    sentences += [
        change(f"With {name}", FLAT[fields[name]["activation"]], list(values[:, 0]), list(values[:, -1]))
        for name, values in flat.items()
    ]
    return Answer([*sentences, *diverged(runs)], pictures, table)


def dead(members: Sequence[Member], widths: Sequence[int]) -> np.ndarray:
    """The dead share of all hidden units, (seeds, epochs); where the parameters are not finite all are dead."""
    return np.average(np.nan_to_num(series(members, "probes/dead_units"), nan=1.0), axis=-1, weights=widths)


def distributions(lab: Lab, runs: Mapping[str, Sequence[Member]]) -> dict[str, np.ndarray]:
    """Of each run's hidden activations the share in every bin, (seeds, epochs, layers, bins); NaN once diverged."""
    members = [member for own in runs.values() for member in own]
    found = np.array([[_shares(lab, member) for member in states] for states in lab.again(members)])
    counts = np.cumsum([len(own) for own in runs.values()])[:-1]
    return dict(zip(runs, np.split(found.swapaxes(0, 1), counts), strict=True))


def _shares(lab: Lab, member: Member) -> np.ndarray:
    edges = EDGES[member.config.activation]
    if member.diverged:
        return np.full((len(member.config.hidden_sizes), len(edges) - 1), np.nan)
    assert member.lane is not None
    images = rows_of("validation", member.config, lab.dataset)[0][:IMAGES] / np.float32(lab.dataset.scale)
    layers = _activations(lab.static(member.config), member.lane.state.params, images)
    return np.array([shares(np.asarray(layer), edges) for layer in layers])


@partial(jax.jit, static_argnums=0)
def _activations(static: Static, params: Params, inputs: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(forward(params, inputs, **static.net)[1].activations)


def shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The share of `values` from each edge to below the next; those outside count in the outermost bins."""
    places = np.clip(np.searchsorted(edges, values.ravel(), "right") - 1, 0, len(edges) - 2)
    return np.bincount(places, minlength=len(edges) - 1) / values.size


def flat_shares(found: np.ndarray, activation: str) -> np.ndarray:
    """The flat share of the last layer's activations, (seeds, epochs); all of them once a network has diverged."""
    ends = [0] if activation == "relu" else [0, -1]
    return np.nan_to_num(found[:, :, -1, ends].sum(axis=-1), nan=1.0)


def _ridges(name: str, found: np.ndarray, activation: str) -> list[plots.Ridge]:
    edges, ticks = EDGES[activation], TICKS[activation]
    places = {float(np.interp(tick, edges, range(len(edges)))) or 0.5: f"{tick:g}" for tick in ticks}
    charts = []
    for layer in range(found.shape[2]):
        flat = flat_shares(found[:, :, layer : layer + 1], activation).mean(axis=0)
        notes = [f"{100 * share:.0f} %" for share in flat]
        title = f"{name}, layer {layer + 1}; % {FLAT[activation]}"
        means = np.ma.masked_invalid(found[:, :, layer]).mean(axis=0).filled(0)  # of the seeds that still train
        charts.append(plots.Ridge(title, means, notes, places))
    return charts


def change(what: str, flat: str, first: Sample, last: Sample) -> str:
    """How the share of activations that are flat changes from the first epoch to the last."""
    found = compare(last, first)
    by = f"by {points(found.difference)}"
    words = {-1: f"fewer {by}", 0: "no difference beyond two standard errors", 1: f"more {by}"}
    return (
        f"{what} {mean_sd(first)} of the last hidden layer's activations are {flat} after the first epoch and "
        f"{mean_sd(last)} after the last, {words[found.sign]}."
    )
