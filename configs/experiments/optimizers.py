"""The six optimizers over seeds, each at the learning rate of its own config.

python main.py --config=configs/experiments/optimizers.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("optimizers",))
