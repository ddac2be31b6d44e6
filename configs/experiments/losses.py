"""Cross-entropy against squared error: all else equal, and each at its own best learning rate.

python main.py --config=configs/experiments/losses.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("losses",))
