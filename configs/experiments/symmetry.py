"""Zero against Xavier initialisation: the gradients of five neurons over 50 iterations.

python main.py --config=configs/experiments/symmetry.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("symmetry",))
