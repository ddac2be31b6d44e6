"""The confusion matrix of the best model, and a view of its failures."""

import math
from collections.abc import Sequence

import numpy as np

from mlp_jax.files.workdir import read_json
from mlp_jax.questions.best import final
from mlp_jax.questions.lab import Answer, Lab
from mlp_jax.questions.sweep import swept
from mlp_jax.reports.html import percent

TITLE = "What it gets wrong"
QUESTION = "Which classes does the best model confuse, and what do the failures look like?"


def answer(lab: Lab) -> Answer:
    """The matrix, the most confident mistake of every cell, and the most confident mistakes of all."""
    final(lab)
    folder = swept(lab) / "best"
    found = read_json(folder / "evaluation.json")
    names, matrix = found["class_names"], np.array(found["matrix"])
    table = [
        {
            "class": name,
            **{score: found["scores"][score][index] for score in ("precision", "recall", "f1")},
            "images": int(matrix[index].sum()),
        }
        for index, name in enumerate(names)
    ]
    pictures = [folder / "plots" / f"{n}.png" for n in ("confusion_matrix", "mistakes_by_cell", "mistakes")]
    links = [("The best run's own page, with the mistakes of every cell", folder / "report.html")]
    return Answer([hardest(names, matrix), confused(names, matrix)], pictures, table, links)


def hardest(names: Sequence[str], matrix: np.ndarray) -> str:
    """The classes of highest and lowest recall."""
    recall = np.diag(matrix) / np.maximum(matrix.sum(axis=1), 1)
    low, high = int(recall.argmin()), int(recall.argmax())
    if recall[low] == recall[high]:
        return f"Every class has the same recall, {percent(float(recall[low]))}."
    return (
        f"{names[low]} is the hardest class with a recall of {percent(float(recall[low]))}, {names[high]} the easiest "
        f"with {percent(float(recall[high]))}."
    )


def confused(names: Sequence[str], matrix: np.ndarray) -> str:
    """The most frequent confusion, and whether the reverse is as frequent (counts differ by chance by √(a + b))."""
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    if not wrong.any():
        return "There are no mistakes."
    true, taken = map(int, np.unravel_index(wrong.argmax(), wrong.shape))
    count, reverse = int(wrong[true, taken]), int(wrong[taken, true])
    share = 100 * count / wrong.sum()
    rarer = count - reverse > 2 * math.sqrt(count + reverse)
    word = "rarer" if rarer else "as frequent within two standard errors"
    return (
        f"The most frequent of its {int(wrong.sum()):,} mistakes is to take {names[true]} for {names[taken]} "
        f"({count}, {share:.0f} % of all); the reverse ({reverse}) is {word}."
    )
