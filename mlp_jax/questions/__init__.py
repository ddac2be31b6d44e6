"""The experiments: one file a question, named as in `config.experiments`, with its runs, pictures and sentences.

A question's file has TITLE, QUESTION and `answer(lab) -> Answer`. One more question is one more file and its name here.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from mlp_jax.errors import not_one_of
from mlp_jax.runs import defaults
from mlp_jax.runs.config import refuse

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
    "carried_over",
    "batches",
)

# What today's courses ask beside it, each only by its name.
IDEAS = ("range_test", "double_descent", "random_labels", "ensembles", "trainability")


class Edition(NamedTuple):
    """What an edition of the assignment asks for: question -> its number, in order, on this dataset first."""

    dataset: str
    numbers: Mapping[str, str]
    note: str = ""

    @property
    def order(self) -> tuple[str, ...]:
        """Every question as the bound report has them: those with a number, the others, the ideas."""
        return tuple(dict.fromkeys((*self.numbers, *QUESTIONS, *IDEAS)))


EDITIONS = {
    2026: Edition(
        "mnist",
        {
            "samples": "2.1",
            "sweep": "2.2",
            "optimizers": "2.3",
            "gradients": "2.4",
            "dead_units": "2.5",
            "losses": "2.6",
            "generalisation": "2.7",
            "best": "2.8",
            "confusion": "2.8",
            "symmetry": "2.9",
            "carried_over": "2.10",
        },
    ),
    2025: Edition(
        "fashion_mnist",
        {
            "samples": "Q1",
            "sweep": "Q4–Q6",
            "best": "Q7",
            "confusion": "Q7",
            "losses": "Q8",
            "carried_over": "Q10",
        },
        "Q2 and Q3 are code: mlp_jax/model.py, mlp_jax/gradients.py and mlp_jax/optimizers.py.",
    ),
}


class Budget(NamedTuple):
    """What `config.budget` allows: seeds of every band, epochs of every run, trials of the sweep."""

    seeds: int
    epochs: int
    trials: int


BUDGETS = {"quick": Budget(seeds=3, epochs=3, trials=100), "full": Budget(seeds=5, epochs=10, trials=100)}


def get_config(edition: int = 2026) -> ConfigDict:
    """All questions, about the default net; each changes what it is about."""
    config = defaults.get_config()
    config.edition, config.dataset = edition, EDITIONS[edition].dataset
    config.batch_size = 64  # twice the default: each of some 150 networks takes half the time
    config.experiments = QUESTIONS
    config.budget = "quick"
    return config


def choose_dataset(config: ConfigDict) -> None:
    """Sets the dataset to the one that the config's edition begins with."""
    if config.edition in EDITIONS:
        config.dataset = EDITIONS[config.edition].dataset


def validate(config: ConfigDict) -> None:
    """UserError for what a set of experiments cannot do; a config without experiments has no budget, no edition."""
    if "experiments" not in config:
        for field in ("budget", "edition"):
            if field in config:
                refuse(field, config[field], "for a config without experiments")
        return
    if "sweep" in config:
        refuse("experiments", config.experiments, "for a config with a sweep")
    if not config.experiments:
        refuse("experiments", config.experiments, f"a tuple of one or more of {', '.join(QUESTIONS + IDEAS)}")
    for name in config.experiments:
        if name not in QUESTIONS + IDEAS:
            raise not_one_of("experiments", name, QUESTIONS + IDEAS)
    for field, known in (("budget", BUDGETS), ("edition", EDITIONS)):
        if config[field] not in known:
            raise not_one_of(field, config[field], known)
    usual, budget = defaults.get_config(), BUDGETS[config.budget]
    decided = "in experiments the budget decides it"
    largest = 2**32 - budget.seeds
    for field, right, allowed in (
        *((n, config[n] == usual[n], f"{usual[n]}: {decided}") for n in ("seeds", "num_epochs", "early_stopping")),
        ("val_fraction", config.val_fraction > 0, "above 0: experiments choose on validation"),
        ("hidden_sizes", config.hidden_sizes, "one hidden layer or more, which experiments need"),
        ("seed", config.seed <= largest, f"at most {largest}: the last seed is below 2**32"),
        ("warmup_epochs", config.warmup_epochs < budget.epochs, f"below the budget's {budget.epochs} epochs"),
    ):
        if not right:
            refuse(field, config[field], allowed)
