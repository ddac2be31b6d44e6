"""All the questions of the assignment in order, bound into one report.

    python main.py --config=configs/assignment.py --config.budget=quick
    python main.py --config=configs/assignment.py --config.edition=2025
    python main.py --config=configs/assignment.py --config.experiments=losses

The edition of 2026 begins with MNIST and carries three configurations over to Fashion-MNIST, that of 2025 the other way
round; each has its own order and numbers, and `--config.dataset` begins elsewhere. `quick` takes 3 seeds and 3 epochs,
`full` 5 seeds and 10 epochs, both 100 trials, all on all 54,000 examples.
One question alone, in a workdir that holds another's networks, takes what it needs of them.
"""

from mlp_jax.questions import get_config

__all__ = ["get_config"]
