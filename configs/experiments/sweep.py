"""A random search of the assignment's suggested grid, and what its trials say.

python main.py --config=configs/experiments/sweep.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("sweep",))
