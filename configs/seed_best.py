"""The configuration for which the source of this project reports its best test accuracy, 88.08 %, trained in full.

    python main.py --config=configs/seed_best.py

Its true figure is not measured yet.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """784-128×3-10, tanh, Xavier, Adam at 1e-4, batches of 32, λ 0.0005, 10 epochs; five seeds, nothing held out."""
    config = default.get_config()
    config.seeds = 5
    config.val_fraction = 0.0
    config.activation = "tanh"
    config.init = "xavier"
    config.optimizer = "adam"
    config.learning_rate = 1e-4
    config.batch_size = 32
    config.weight_decay = 0.0005
    config.num_epochs = 10
    return config
