"""Fashion-MNIST by an ensemble trained as one population: the five nets of configs/best_fashion.py together.

    python main.py --config=configs/best_fashion_ensemble.py

Its figure is `test/ensemble_accuracy` in summary.json, of the mean of the five distributions over the classes: 91.60 %
in the run of configs/best_fashion.py, which is the same (results/best_fashion.json).
"""

from ml_collections import ConfigDict

from configs import best_fashion


def get_config() -> ConfigDict:
    """Five seeds of configs/best_fashion.py."""
    return best_fashion.get_config()
