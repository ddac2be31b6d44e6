"""What a resume, an evaluation or a prediction reads of a workdir: data.json, and lanes with their records."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from mlp_jax.data.arrays import Dataset
from mlp_jax.errors import UserError
from mlp_jax.files import checkpoint, workdir
from mlp_jax.hparams import Hparams, Static
from mlp_jax.lanes.fit import Record
from mlp_jax.runs.config import FILE, check_resume, fingerprint, from_json
from mlp_jax.training import Lane, init_lane, make_keys

CARD = "data.json"
CHECKPOINTS = "checkpoints"
_LOSSES = ("train/loss", "val/loss", "val/accuracy")  # None without validation, or where not finite


def _count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _list_of(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= 2 and all(map(right, value))


_CARD_FIELDS: dict[str, Callable[[Any], bool]] = {
    "dataset": _text,
    "train_examples": _count,
    "inputs": _count,
    "class_names": _list_of(_text),
    "image_shape": lambda value: value == [] or _list_of(_count)(value),
    "scale": lambda value: _count(value) and value <= 255,
    "fingerprint": _text,
}


def write_card(folder: Path, dataset: Dataset) -> None:
    """Writes data.json: what has to be known of the training data to go on with a run or to use its network."""
    card = {
        "dataset": dataset.name,
        "train_examples": len(dataset.train_labels),
        "inputs": dataset.train_images.shape[1],
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
        "scale": dataset.scale,
        "fingerprint": dataset.fingerprint,
    }
    if len(dataset.classes):
        card["classes"] = dataset.classes.tolist()
    workdir.write_sealed(folder / CARD, card)


def read_card(folder: Path) -> dict[str, Any]:
    """The fields of data.json; UserError where it is missing or one of them is not such as `write_card` writes."""
    path = folder / CARD
    card = workdir.read_sealed(path)
    for name, right in _CARD_FIELDS.items():
        if not right(card.get(name)):
            raise UserError(f"{path}: not as a run wrote it: {name} is {card.get(name)!r:.80}")
    if card["image_shape"] and math.prod(card["image_shape"]) != card["inputs"]:
        shape = card["image_shape"]
        raise UserError(f"{path}: not as a run wrote it: images of {shape} do not have {card['inputs']} pixels")
    return card


def check(config: ConfigDict, folder: Path, dataset: Dataset) -> None:
    """Raises UserError where a workdir holds another config's or other data's, before anything in it is changed."""
    if config.resume == "never" or not (folder / FILE).exists():
        return
    check_resume(from_json(folder / FILE), config, folder)
    if (folder / CARD).exists() and read_card(folder)["fingerprint"] != dataset.fingerprint:
        raise UserError(f"{folder} was trained on other data; allowed: those, another workdir, resume='never'")


class Kept(NamedTuple):
    """A lane from a checkpoint, on the host, and how it got there."""

    lane: Lane
    records: list[Record]
    seconds: float  # of the epoch under way
    threads: int | None  # the cores of the process that saved it


def prints(config: ConfigDict, data_fingerprint: str) -> dict[str, str]:
    """The fingerprints that a checkpoint has to match: of the data, and of the config unless it may have changed."""
    data = {"data": data_fingerprint}
    return data if config.resume == "changed" else {"config": fingerprint(config), **data}


def keep(
    folder: Path, lane: Lane, records: Sequence[Record], config: ConfigDict, dataset: Dataset, **extra: Any
) -> None:
    """Saves a lane that lies on the host, with its records and `extra` figures of `Kept`, as the newest checkpoint."""
    written = {"config": fingerprint(config), "data": dataset.fingerprint}
    extra = {"records": list(records), **extra}
    checkpoint.save(folder / CHECKPOINTS, int(lane.state.step), lane, extra, written)


def restore(
    folder: Path,
    halves: tuple[Static, Hparams],
    seed: int,
    compared: Mapping[str, str],
    warn: Callable[[str], None] | None = None,
) -> Kept | None:
    """The newest lane that `keep` saved in `folder` and that is whole, of a config with these two halves; else None.

    UserError for a lane of another config, shape or data, and for one whose records are not such as a run writes.
    """
    template = jax.eval_shape(lambda: init_lane(*halves, make_keys(seed)))
    found = checkpoint.restore(folder / CHECKPOINTS, template, dict(compared), warn)
    if found is None:
        return None
    records, seconds = found.extra.get("records"), found.extra.get("seconds", 0.0)
    right = isinstance(records, list) and len(records) >= int(found.state.best.epoch)
    right = right and all(_is_record(record, epoch) for epoch, record in enumerate(records or [], start=1))
    if not right or not (type(seconds) in (int, float) and 0 <= seconds < 1e9):
        where = folder / CHECKPOINTS / str(found.step)
        raise UserError(f"{where}: its figures are not as a run writes them; --config.resume=never starts over")
    return Kept(found.state, records or [], float(seconds), found.extra.get("threads"))


def last_is_whole(folder: Path) -> bool:
    """Whether the last checkpoint of a run that has finished, or of one of its seeds, is there as it was written.

    A run has it at the last step of metrics.jsonl; a seed has no such file, and no other checkpoint.
    """
    records = workdir.read_lines(folder / "metrics.jsonl")
    return checkpoint.newest_is_whole(folder / CHECKPOINTS, records[-1].get("step") if records else None)


def _is_record(record: Any, epoch: int) -> bool:
    if not isinstance(record, dict) or record.get("epoch") != epoch:
        return False
    known = all(isinstance(record.get(name), int | float) for name in ("step", "train/accuracy", "seconds"))
    return known and all(isinstance(record.get(name, ""), int | float | None) for name in _LOSSES)
