"""The second search behind configs/best_small.py: blended images, more decay, with three seeds each.

python main.py --config=configs/sweep_best_small_mixup.py

Its kept figures are of commit e9df5e3, where each row of a batch was blended by a share of its own.
"""

from ml_collections import ConfigDict

from configs import sweep_best_small


def get_config() -> ConfigDict:
    """Around what configs/sweep_best_small.py has found, which neither shifts nor erases: a grid of 36 trials."""
    config = sweep_best_small.get_config()
    config.sweep.name = "best_small_mixup"
    config.sweep.method = "grid"
    config.sweep.run_cap = 36
    config.sweep.parameters = {
        "num_layers": {"values": (2, 3)},
        "hidden_size": {"value": 128},
        "mixup_alpha": {"values": (0.0, 0.1, 0.4)},
        "weight_decay": {"values": (0.3, 1.0)},
        "seed": {"values": (0, 1, 2)},
    }
    config.dropout_rate = 0.05
    config.augment_flip = True
    return config
