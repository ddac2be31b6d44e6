"""Training against test accuracy over all trials of the sweep.

    python main.py --config=configs/experiments/generalisation.py

In a workdir that holds the sweep it takes that; else it runs the sweep first.
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("generalisation",))
