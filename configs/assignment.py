"""All the questions of the assignment in order, bound into one report.

    python main.py --config=configs/assignment.py --config.budget=quick
    python main.py --config=configs/assignment.py --config.experiments=losses

`quick` takes 3 seeds, 3 epochs and 36 trials, `full` 5 seeds, 10 epochs and 100 trials, both on all 54,000 examples.
One question alone, in a workdir that holds another's networks, takes what it needs of them.
"""

from mlp_jax.questions import get_config

__all__ = ["get_config"]
