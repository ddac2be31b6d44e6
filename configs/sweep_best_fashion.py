"""The search behind configs/best_fashion.py: distortions and dropout for nets of 1024 neurons a layer on Fashion-MNIST.

python main.py --config=configs/sweep_best_fashion.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """How deep, how much dropout, which distortions of mirrored images: 12 Bayesian trials of 20 epochs, around what
    configs/sweep_best_grid.py has found."""
    config = sweep_best_grid.search(
        "best_fashion",
        "bayes",
        12,
        {
            "num_layers": {"values": (2, 3)},
            "hidden_size": {"value": 1024},
            "learning_rate": {"values": (1e-3, 2e-3)},
            "dropout_rate": {"values": (0.1, 0.3)},
            "augment_shift": {"values": (0, 1)},
            "augment_erase": {"values": (0, 8)},
            "augment_scale": {"values": (0.0, 0.1)},
        },
    )
    config.update(sweep_best_grid.FOUND)
    config.augment_flip = True
    config.batch_size = 256
    config.num_epochs = 20
    return config
