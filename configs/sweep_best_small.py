"""The search behind configs/best_small.py: distortions for nets of 128 neurons a layer on Fashion-MNIST.

python main.py --config=configs/sweep_best_small.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """Mirrored images, small distortions, less dropout: 10 Bayesian trials of 40 epochs, around what
    configs/sweep_best_grid.py has found."""
    config = sweep_best_grid.search(
        "best_small",
        "bayes",
        10,
        {
            "num_layers": {"values": (2, 3, 4)},
            "hidden_size": {"value": 128},
            "weight_decay": {"values": (0.1, 0.3)},
            "dropout_rate": {"values": (0.0, 0.05)},
            "augment_flip": {"value": True},
            "augment_shift": {"values": (0, 1)},
            "augment_erase": {"values": (0, 8)},
        },
    )
    config.update(sweep_best_grid.FOUND)
    config.learning_rate = 2e-3
    config.num_epochs = 40
    return config
