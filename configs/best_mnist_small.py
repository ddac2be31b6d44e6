"""MNIST by nets of 128 neurons a layer, on distorted digits.

    python main.py --config=configs/best_mnist_small.py

A proposal: configs/sweep_best_mnist_small.py, which is to settle it, has not run yet.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """784-128×3-10, AdamW under a cosine, averaged weights; nothing held out."""
    config = default.get_config()
    config.dataset = "mnist"
    config.seeds = 5
    config.val_fraction = 0.0
    config.ema_decay = 0.998
    config.weight_decay = 0.02
    config.decoupled_weight_decay = True
    config.learning_rate = 0.002
    config.schedule = "cosine"
    config.batch_size = 128
    config.num_epochs = 30
    config.augment_rotation = 10.0
    config.augment_scale = 0.1
    config.augment_elastic = 1.0
    return config
