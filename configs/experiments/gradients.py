"""The norm of the first layer's gradient over depth, by activation and initialisation.

python main.py --config=configs/experiments/gradients.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("gradients",))
