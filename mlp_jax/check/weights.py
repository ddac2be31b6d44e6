"""A submission's best_model.npy: whether it loads, what network it is, and its figures on the test set."""

from functools import cache
from pathlib import Path

from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, Finding
from mlp_jax.data.datasets import Dataset, load, load_test
from mlp_jax.errors import UserError
from mlp_jax.runs.exported import Network, as_run, read

ITEM = "best_model.npy"
CHANCE = 0.2  # twice what ten classes give by chance: below it a network has learned nothing, or is read wrongly
ROWS = 2000  # of the training set, on which the scale of the inputs is found out


def check_weights(path: Path, data_dir: str) -> Finding:
    """The network on the test set of the dataset that its config names, MNIST where it names none.

    How the pixels are scaled is found out on training images, so that the test set is looked at once.
    """
    try:
        network = read(path)
        as_run(network)
    except UserError as error:
        return Finding(ITEM, FAILED, note=str(error).removeprefix(f"{path}: "))
    name = str(network.config.get("dataset", "mnist"))
    shape = "-".join(map(str, network.sizes))
    what = f"{shape}, {network.config.get('activation', 'no hidden layer')}"
    what += ", stored as (out, in)" if network.turned else ""
    try:
        dataset = _dataset(name if name in ("mnist", "fashion_mnist", "digits") else "mnist", data_dir)
    except UserError as error:
        return Finding(ITEM, UNSURE, note=f"{what}; not tested: {error}")
    inputs, classes = dataset.train_images.shape[1], len(dataset.class_names)
    if (network.sizes[0], network.sizes[-1]) != (inputs, classes):
        ends = f"{network.sizes[0]} inputs and {network.sizes[-1]} outputs"
        return Finding(ITEM, WRONG, expected=f"{inputs} inputs and {classes} outputs", found=ends, note=what)
    from mlp_jax.lanes.evaluation import evaluate_on

    ways = _ways(network, dataset)
    images, labels = dataset.train_images[:ROWS], dataset.train_labels[:ROWS]
    known = {way: evaluate_on(*as_run(net), images, labels, scale).accuracy for way, (net, scale) in ways.items()}
    way = max(known, key=lambda name: known[name])
    net, scale = ways[way]
    tested = evaluate_on(*as_run(net), *load_test(dataset), scale)
    macro = ", ".join(
        f"{name} {getattr(tested.scores, name.lower()).mean():.4f}" for name in ("precision", "recall", "F1")
    )
    note = f"{what}, {way}; test set of {dataset.name}: accuracy {tested.accuracy:.4f}, {macro} (means over classes)"
    if tested.accuracy < CHANCE:
        return Finding(ITEM, UNSURE, note=f"{note}: near chance; is it trained, and on pixels scaled in this way?")
    return Finding(ITEM, RIGHT, note=note)


@cache
def _dataset(name: str, data_dir: str) -> Dataset:
    return load(name, data_dir, "")


def _ways(network: Network, dataset: Dataset) -> dict[str, tuple[Network, float]]:
    """The network with the scale of its pixels, by what is said of it."""
    mean, sd = float(dataset.train_images.mean()), float(dataset.train_images.std())
    (w, b), *rest = network.layers
    standardised = network._replace(layers=((w / sd, b - mean / sd * w.sum(axis=0)), *rest))
    return {
        "pixels in [0, 1]": (network, dataset.scale),
        f"pixels in [0, {dataset.scale}]": (network, 1),
        "pixels standardised": (standardised, 1),
    }
