"""The second search behind configs/best_grid.py: how long, and how regularised, with five seeds each.

python main.py --config=configs/sweep_best_grid_long.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """Around the best of configs/sweep_best_grid.py, two layers at a rate of 0.002: a grid of 40 trials."""
    config = sweep_best_grid.search(
        "best_grid_long",
        "grid",
        40,
        {
            "num_layers": {"value": 2},
            "hidden_size": {"value": 128},
            "num_epochs": {"values": (30, 60)},
            "weight_decay": {"values": (0.1, 0.3)},
            "dropout_rate": {"values": (0.05, 0.1)},
            "seed": {"values": (0, 1, 2, 3, 4)},
        },
    )
    config.update(sweep_best_grid.FOUND)
    config.learning_rate = 2e-3
    return config
