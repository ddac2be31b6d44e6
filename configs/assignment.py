"""All the questions of the assignment in order, bound into one report.

    python main.py --config=configs/assignment.py --config.budget=quick

`quick` takes 3 seeds, 3 epochs and 36 trials, `full` 5 seeds, 10 epochs and 100 trials, both on all 54,000 examples.
One question alone is one file of `configs/experiments/`; in a workdir that holds another's networks it takes what it
needs of them.
"""

from ml_collections import ConfigDict

from configs import default
from mlp_jax.questions import QUESTIONS


def get_config(experiments: tuple[str, ...] = QUESTIONS) -> ConfigDict:
    """The default net; each question changes what it is about."""
    config = default.get_config()
    config.batch_size = 64  # twice the default: each of some 150 networks takes half the time
    config.experiments = experiments
    config.budget = "quick"
    return config
