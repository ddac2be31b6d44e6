"""One sample and five samples of every class.

python main.py --config=configs/experiments/samples.py
"""

from ml_collections import ConfigDict

from configs import assignment


def get_config() -> ConfigDict:
    """This question alone."""
    return assignment.get_config(("samples",))
