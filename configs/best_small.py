"""The net of configs/best_grid.py with mirrored images as well.

    python main.py --config=configs/best_small.py

A proposal: configs/sweep_best_small.py, which is to settle it, has not run yet.
"""

from ml_collections import ConfigDict

from configs import best_grid


def get_config() -> ConfigDict:
    """Twice the images need less dropout and more epochs."""
    config = best_grid.get_config()
    config.augment_flip = True
    config.dropout_rate = 0.05
    config.num_epochs = 40
    return config
