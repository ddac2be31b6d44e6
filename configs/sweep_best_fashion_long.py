"""The second search behind configs/best_fashion.py: how much dropout in a longer training on mirrored images.

python main.py --config=configs/sweep_best_fashion_long.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_fashion


def get_config() -> ConfigDict:
    """Around the best of configs/sweep_best_fashion.py, which neither moves nor erases: a grid of three, 40 epochs."""
    config = sweep_best_fashion.get_config()
    config.sweep.name = "best_fashion_long"
    config.sweep.method = "grid"
    config.sweep.run_cap = 3
    config.sweep.parameters = {
        "num_layers": {"value": 2},
        "hidden_size": {"value": 1024},
        "dropout_rate": {"values": (0.1, 0.3, 0.5)},
    }
    config.num_epochs = 40
    return config
