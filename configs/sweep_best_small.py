"""The search behind configs/best_small.py: which distortions suit the recipe of configs/best_grid.py.

python main.py --config=configs/sweep_best_small.py
"""

from ml_collections import ConfigDict

from configs import best_grid, sweep_best_grid


def get_config() -> ConfigDict:
    """Flips, shifts and a little less dropout: six random trials of 20 epochs."""
    config = best_grid.get_config()
    config.seeds = 1
    config.val_fraction = 0.1
    config.num_epochs = 20
    config.storage = ""
    config.sweep = sweep_best_grid.get_config().sweep
    config.sweep.method = "random"
    config.sweep.parameters = {
        "num_layers": {"values": (2, 3)},
        "hidden_size": {"value": 128},
        "dropout_rate": {"values": (0.0, 0.05, 0.1)},
        "augment_flip": {"value": True},
        "augment_shift": {"values": (0, 1)},
    }
    config.sweep.run_cap = 6
    config.sweep.name = "best_small"
    return config
