"""data.json, a run's card of the data it trains on: what an evaluation, a prediction or a resume has to know of it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlp_jax.files import workdir
from mlp_jax.data.datasets import Dataset
from mlp_jax.errors import UserError

FILE = "data.json"


def write(folder: Path, dataset: Dataset) -> None:
    """Writes the card of a dataset, with its seal."""
    card = {
        "dataset": dataset.name,
        "train_examples": len(dataset.train_labels),
        "inputs": dataset.train_images.shape[1],
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
        "scale": dataset.scale,
        "fingerprint": dataset.fingerprint,
    }
    workdir.write_sealed(folder / FILE, workdir.json_bytes(card))


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _list_of(right: Callable[[Any], bool], least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(right, value))


_RIGHT: dict[str, Callable[[Any], bool]] = {
    "dataset": _text,
    "train_examples": _count,
    "inputs": _count,
    "class_names": _list_of(_text, 2),
    "image_shape": _list_of(_count, 2),
    "scale": lambda value: _count(value) and value <= 255,
    "fingerprint": _text,
}


def read(folder: Path) -> dict[str, Any]:
    """The card in `folder`; UserError where there is none or a field of it is not such as `write` writes."""
    path = folder / FILE
    card = workdir.read_json(path)
    if not isinstance(card, dict):
        raise UserError(f"{path}: not as a run wrote it: it holds no fields")
    for name, right in _RIGHT.items():
        if not right(card.get(name)):
            raise UserError(f"{path}: not as a run wrote it: {name} is {card.get(name)!r:.80}")
    if math.prod(card["image_shape"]) != card["inputs"]:
        raise UserError(
            f"{path}: not as a run wrote it: images of {card['image_shape']} have not {card['inputs']} pixels"
        )
    return card
