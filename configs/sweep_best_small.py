"""The search behind configs/best_small.py: distortions for nets of 128 neurons a layer on Fashion-MNIST.

python main.py --config=configs/sweep_best_small.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """Mirrored images, small distortions, less dropout: 14 Bayesian trials of 60 epochs."""
    config = sweep_best_grid.search(
        "best_small",
        "bayes",
        14,
        {
            "num_layers": {"values": (2, 3, 4)},
            "hidden_size": {"value": 128},
            "learning_rate": {"values": (1e-3, 2e-3)},
            "weight_decay": {"values": (0.02, 0.1)},
            "dropout_rate": {"values": (0.0, 0.05)},
            "augment_flip": {"value": True},
            "augment_shift": {"values": (0, 1)},
            "augment_erase": {"values": (0, 8)},
        },
    )
    config.norm = "layer"
    config.num_epochs = 60
    config.label_smoothing = 0.1
    return config
