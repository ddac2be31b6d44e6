"""The configuration for which the source of this project reports its best test accuracy, 88.08 %, trained in full.

    python main.py --config=configs/seed_best.py

Test, five seeds, trained on all 60,000 images: 87.03 ± 0.15 %, 86.91 to 87.23 % (the five together: 87.50 %). None of
them meets the 88.08 %. 43 s a seed on 2 busy cores (AMD EPYC), jax 0.10.2.
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
