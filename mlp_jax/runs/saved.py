"""A saved run read back: its best parameters, evaluated on labelled data or applied to new images."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from mlp_jax.data import images
from mlp_jax.data.arrays import Dataset
from mlp_jax.data.datasets import load
from mlp_jax.errors import UserError
from mlp_jax.files import workdir
from mlp_jax.hparams import Static, split_config
from mlp_jax.lanes.evaluation import Tested, evaluate_on, predict_probabilities
from mlp_jax.lanes.fit import Record
from mlp_jax.model import Params
from mlp_jax.runs import resume
from mlp_jax.runs.config import FILE, from_json
from mlp_jax.runs.run import rows_of, write_evaluation
from mlp_jax.runs.seeds import each_seed


class Saved(NamedTuple):
    """The network of a run, what it was trained on (data.json), and its records."""

    config: ConfigDict
    static: Static
    params: Params
    card: dict[str, Any]
    records: list[Record]


def read(folder: Path) -> Saved:
    """The network of the run in `folder`, its best parameters; of a run of several seeds that of the first."""
    return read_all(folder, most=1)[0]


def read_all(folder: Path, most: int | None = None) -> list[Saved]:
    """The networks of the run in `folder`: one, or one a seed in their order, `most` of them. A seed may be missing."""
    if (folder / "trials.jsonl").exists():
        raise UserError(
            f"--workdir: {str(folder)!r} holds a sweep; allowed is a run, as {folder / 'best'} of --mode=best"
        )
    if not (folder / resume.CARD).exists():
        raise UserError(f"--workdir: {str(folder)!r} holds no trained run: it has no {resume.CARD}")
    config = from_json(folder / FILE)
    if config.seeds == 1:
        return [_read(folder, folder, config)]
    there = [(one, path) for one in each_seed(config) if (path := folder / "seeds" / str(one.seed)).exists()]
    if not there:
        raise UserError(f"--workdir: {str(folder)!r} holds no seed that has finished; train it first")
    return [_read(folder, path, one) for one, path in there[:most]]


def _read(folder: Path, where: Path, config: ConfigDict) -> Saved:
    """What the checkpoints in `where` hold of the run in `folder`."""
    given, card = f"--workdir: {str(folder)!r}", resume.read_card(folder)
    trained_on = card["train_examples"] - round(config.val_fraction * card["train_examples"])
    if trained_on < 1:
        raise UserError(f"{folder / resume.CARD}: not as a run wrote it: {card['train_examples']} examples to train on")
    halves = split_config(config, card["inputs"], len(card["class_names"]), trained_on)
    found = resume.restore(where, halves, config.seed, {"data": card["fingerprint"]})
    if found is None:
        raise UserError(f"{given} holds no checkpoint that can be read; train it first")
    if (folder / "summary.json").exists() and not resume.last_is_whole(where):
        raise UserError(f"{given} has lost its last checkpoint; trained again it gets the same one")
    if found.lane.best.epoch < 1:
        raise UserError(f"{given} has not finished an epoch yet; train on")
    return Saved(config, halves[0], found.lane.best.params, card, found.records)


def evaluate_saved(config: ConfigDict, folder: Path) -> Tested:
    """Prints, and writes to `evaluation-DATASET-SPLIT.json`, what the saved run makes of `config.dataset`.

    `config.evaluate_split` is test, validation (the rows that the run held out) or train (those it trained on).
    Another dataset has to have images of the same size.
    """
    saved = read(folder)
    stored = from_json(folder / FILE)
    same = config.dataset == stored.dataset
    name = saved.card["dataset"] if same else config.dataset
    dataset = load(name, config.data_dir, "")
    if dataset.train_images.shape[1] != saved.static.sizes[0]:
        raise UserError(
            f"dataset: {name!r} has images of {dataset.train_images.shape[1]} pixels; "
            f"the run in {folder} takes {saved.static.sizes[0]}"
        )
    if len(dataset.class_names) > saved.static.sizes[-1]:
        classes = len(dataset.class_names)
        raise UserError(f"dataset: {name!r} has {classes} classes; the run in {folder} knows {saved.static.sizes[-1]}")
    if same and config.evaluate_split != "test" and dataset.fingerprint != saved.card["fingerprint"]:
        raise UserError(
            f"dataset: {name!r} has changed since the run in {folder}; allowed: --config.evaluate_split=test"
        )
    # The matrix has the network's classes, of which another dataset may name but the first ones.
    unnamed = saved.card["class_names"][len(dataset.class_names) :]
    dataset = dataset._replace(class_names=(*dataset.class_names, *unnamed))
    # The split is the run's, whatever the command line says of seeds and fractions.
    pixels, labels = rows_of(config.evaluate_split, stored, dataset)
    result = evaluate_on(saved.static, saved.params, pixels, labels, dataset.scale)
    target = folder / f"evaluation-{Path(name).name}-{config.evaluate_split}.json"
    write_evaluation(target, config.evaluate_split, dataset, result, pixels, labels)
    if not same:
        print(f"{folder} was trained on {saved.card['dataset']}, not on {name}")
    print(table(dataset, config.evaluate_split, result))
    print(f"written to {target}")
    return result


def table(dataset: Dataset, part: str, result: Tested) -> str:
    """Loss and accuracy, precision, recall and F1 of each class and their means, and the confusion matrix, as text."""
    names = [str(name) for name in dataset.class_names]
    width = max(len("macro"), *map(len, names))
    scores, total = result.scores, result.confusion.sum()
    lines = [
        f"{dataset.name} {part}: {total} examples, loss {result.loss:.4f}, accuracy {result.accuracy:.2%}",
        f"{'class':{width}}  precision  recall      F1",
    ]
    columns = (scores.precision, scores.recall, scores.f1)
    for name, *values in [*zip(names, *columns, strict=False), ("macro", *(column.mean() for column in columns))]:
        lines.append(f"{name:{width}}  {values[0]:9.4f}  {values[1]:6.4f}  {values[2]:6.4f}")
    lines.append("confusion matrix, rows true:")
    digits = len(str(result.confusion.max()))
    for name, row in zip(names, result.confusion, strict=False):
        lines.append(f"{name:{width}}  " + " ".join(f"{count:{digits}}" for count in row))
    return "\n".join(lines)


def predict(config: ConfigDict, folder: Path, inputs: tuple[str, ...]) -> list[dict[str, Any]]:
    """The class of every image in the files: a table on a terminal's reader's side, JSON lines in predictions.json."""
    saved = read(folder)
    shape, scale = tuple(saved.card["image_shape"]), saved.card["scale"]
    if len(shape) == 2 and scale > 1:
        names, rows_in = images.read(inputs, shape, scale)
    else:
        names, rows_in = images.read_rows(inputs, saved.card["inputs"], pixels=scale > 1)
    probabilities = predict_probabilities(saved.static, saved.params, rows_in, scale)
    classes = saved.card["class_names"]
    rows = [
        {
            "input": name,
            "class": int(p.argmax()),
            "name": classes[int(p.argmax())],
            "probability": float(p.max()),
            "probabilities": [float(value) for value in p],
        }
        for name, p in zip(names, probabilities, strict=True)
    ]
    width = max(len(row["input"]) for row in rows)
    for row in rows:
        print(f"{row['input']:{width}}  {row['class']:3d}  {row['name']:12}  {row['probability']:7.2%}")
    workdir.write_json(folder / "predictions.json", rows)
    print(f"written to {folder / 'predictions.json'}", file=sys.stderr)
    return rows
