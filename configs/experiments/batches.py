"""One example, a mini-batch and the whole training set an update, per example and per second.

python main.py --config=configs/experiments/batches.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("batches",))
