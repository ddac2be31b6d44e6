"""The experiments: one file a question, named as in `config.experiments`, with its runs, pictures and sentences.

A question's file has TITLE, QUESTION and `answer(lab) -> Answer`. One more question is one more file and its name here.
"""

from typing import NamedTuple

from ml_collections import ConfigDict

from mlp_jax.errors import not_one_of
from mlp_jax.runs import defaults
from mlp_jax.runs.config import refuse

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

# What today's courses ask beside it, each only by its name.
IDEAS = ("range_test", "double_descent", "random_labels", "ensembles", "trainability")


class Budget(NamedTuple):
    """What `config.budget` allows: seeds of every band, epochs of every run, trials of the sweep."""

    seeds: int
    epochs: int
    trials: int


BUDGETS = {"quick": Budget(seeds=3, epochs=3, trials=36), "full": Budget(seeds=5, epochs=10, trials=100)}


def get_config() -> ConfigDict:
    """All questions, about the default net; each changes what it is about."""
    config = defaults.get_config()
    config.batch_size = 64  # twice the default: each of some 150 networks takes half the time
    config.experiments = QUESTIONS
    config.budget = "quick"
    return config


def validate(config: ConfigDict) -> None:
    """UserError for what a set of experiments cannot do; a config without experiments has no budget."""
    if "experiments" not in config:
        if "budget" in config:
            refuse("budget", config.budget, "for a config without experiments")
        return
    if "sweep" in config:
        refuse("experiments", config.experiments, "for a config with a sweep")
    if not config.experiments:
        refuse("experiments", config.experiments, f"a tuple of one or more of {', '.join(QUESTIONS + IDEAS)}")
    for name in config.experiments:
        if name not in QUESTIONS + IDEAS:
            raise not_one_of("experiments", name, QUESTIONS + IDEAS)
    if config.budget not in BUDGETS:
        raise not_one_of("budget", config.budget, BUDGETS)
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
