"""The third search behind configs/best_fashion.py: blended images and a larger decay.

python main.py --config=configs/sweep_best_fashion_mixup.py

Its kept figures are of commit e9df5e3, where each row of a batch was blended by a share of its own; six of the
eight trials were run.
"""

from ml_collections import ConfigDict

from configs import sweep_best_fashion_long


def get_config() -> ConfigDict:
    """Around the best of configs/sweep_best_fashion_long.py: a grid of eight, 40 epochs."""
    config = sweep_best_fashion_long.get_config()
    config.sweep.name = "best_fashion_mixup"
    config.sweep.run_cap = 8
    config.sweep.parameters = {
        "num_layers": {"value": 2},
        "hidden_size": {"value": 1024},
        "mixup_alpha": {"values": (0.0, 0.2, 0.5, 1.0)},
        "weight_decay": {"values": (0.1, 0.5)},
    }
    config.dropout_rate = 0.1
    return config
