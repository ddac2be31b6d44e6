"""Units that pass no gradient at a learning rate of 0.1, ReLU against tanh.

python main.py --config=configs/experiments/dead_units.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("dead_units",))
