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


class Budget(NamedTuple):
    """What `config.budget` allows: seeds of every band, epochs of every run, trials of the sweep."""

    seeds: int
    epochs: int
    trials: int


BUDGETS = {"quick": Budget(seeds=3, epochs=3, trials=36), "full": Budget(seeds=5, epochs=10, trials=100)}

# What the budget decides.
_OF_THE_BUDGET = ("seeds", "num_epochs", "early_stopping")


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
        refuse("experiments", config.experiments, f"a tuple of one or more of {', '.join(QUESTIONS)}")
    for name in config.experiments:
        if name not in QUESTIONS:
            raise not_one_of("experiments", name, QUESTIONS)
    if config.budget not in BUDGETS:
        raise not_one_of("budget", config.budget, BUDGETS)
    usual = defaults.get_config()
    for field in _OF_THE_BUDGET:
        if config[field] != usual[field]:
            refuse(field, config[field], f"{usual[field]}: in experiments the budget decides it")
    if not config.val_fraction:
        refuse("val_fraction", config.val_fraction, "above 0: experiments choose on validation")
    if not config.hidden_sizes:
        refuse("hidden_sizes", config.hidden_sizes, "one hidden layer or more, which experiments need")
    budget = BUDGETS[config.budget]
    if config.seed + budget.seeds > 2**32:
        refuse("seed", config.seed, f"at most {2**32 - budget.seeds}: the last seed is below 2**32")
    if config.warmup_epochs >= budget.epochs:
        refuse("warmup_epochs", config.warmup_epochs, f"below the budget's {budget.epochs} epochs")
