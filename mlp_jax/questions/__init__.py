"""The experiments: one file a question, named as in `config.experiments`, with its runs, pictures and sentences.

A question's file has TITLE, QUESTION and `answer(lab) -> Answer`. One more question is one more file, its name here and
a config in `configs/experiments/`.
"""

from typing import NamedTuple

# In the order of the bound report.
QUESTIONS = (
    "samples",
    "sweep",
    "best",
    "confusion",
    "losses",
    "optimizers",
    "gradients",
    "dead_units",
    "symmetry",
    "generalisation",
    "mnist",
    "batches",
)


class Budget(NamedTuple):
    """What `config.budget` allows: seeds of every band, epochs of every run, trials of the sweep."""

    seeds: int
    epochs: int
    trials: int


BUDGETS = {"quick": Budget(seeds=3, epochs=3, trials=36), "full": Budget(seeds=5, epochs=10, trials=100)}
