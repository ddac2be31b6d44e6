"""The second search behind configs/pi_fashion.py: noise and dropout for nets of 1024 neurons a layer under Adam.

python main.py --config=configs/sweep_pi_fashion_wide.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """The recipe of configs/best_fashion.py without mirrored images: a grid of six, 25 epochs."""
    config = sweep_best_grid.search(
        "pi_fashion_wide",
        "grid",
        6,
        {
            "num_layers": {"value": 2},
            "hidden_size": {"value": 1024},
            "noise": {"values": (0.0, 0.1, 0.2)},
            "dropout_rate": {"values": (0.1, 0.3)},
        },
    )
    config.update(sweep_best_grid.FOUND)
    config.learning_rate = 1e-3
    config.batch_size = 256
    config.num_epochs = 25
    return config
