"""All 11,664 configurations of the assignment's suggested grid. Nobody has to wait for the end: it can be stopped at
any moment and goes on where it was.

    python main.py --config=configs/sweep_assignment.py --config.sweep.run_cap=1000

In a grid the parameters are nested loops from what shapes the compiled program (layers, width, batch size, activation,
optimizer, init) to plain numbers, and the epochs innermost: 5 epochs lie on the way to 10, so 5,832 trainings do.
"""

from ml_collections import ConfigDict

from configs import sweep_random


def get_config() -> ConfigDict:
    """The space of configs/sweep_random.py, walked through whole."""
    config = sweep_random.get_config()
    config.sweep.method = "grid"
    config.sweep.run_cap = 0
    config.sweep.name = "assignment"
    return config
