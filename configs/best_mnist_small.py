"""MNIST by nets of 128 neurons a layer, on distorted digits.

    python main.py --config=configs/best_mnist_small.py

The best of the 8 trials of configs/sweep_best_mnist_small.py: 99.22 % on validation, seed 0.

Test, 10 seeds, trained on all 60,000 images: 99.23 ± 0.05 %, 99.14 to 99.28 % (results/best_mnist_small.json); 34 s a
seed, two at a time on 2 cores (AMD EPYC), jax 0.10.2.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """784-128×4-10 with layer norm, AdamW under a cosine, averaged weights, distorted digits; nothing held out."""
    config = default.get_config()
    config.dataset = "mnist"
    config.seeds = 10
    config.hidden_sizes = (128, 128, 128, 128)
    config.norm = "layer"
    config.activation = "gelu"
    config.label_smoothing = 0.1
    config.val_fraction = 0.0
    config.ema_decay = 0.998
    config.weight_decay = 0.1
    config.decoupled_weight_decay = True
    config.learning_rate = 0.002
    config.schedule = "cosine"
    config.batch_size = 128
    config.num_epochs = 20
    config.augment_rotation = 5.0
    config.augment_scale = 0.1
    config.augment_elastic = 1.0
    return config
