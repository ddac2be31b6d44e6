"""The search behind configs/best_mnist_small.py: how much to distort MNIST for nets of 128 neurons a layer.

python main.py --config=configs/sweep_best_mnist_small.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """Shifted, turned, scaled and elastic digits: 8 Bayesian trials of 20 epochs, around
    what configs/sweep_best_grid.py has found."""
    config = sweep_best_grid.search(
        "best_mnist_small",
        "bayes",
        8,
        {
            "num_layers": {"values": (2, 3, 4)},
            "hidden_size": {"value": 128},
            "dropout_rate": {"values": (0.0, 0.05)},
            "augment_shift": {"values": (0, 1)},
            "augment_rotation": {"values": (5.0, 10.0)},
            "augment_elastic": {"values": (0.5, 1.0, 1.5)},
        },
    )
    config.update(sweep_best_grid.FOUND)
    config.dataset = "mnist"
    config.learning_rate = 2e-3
    config.weight_decay = 0.1
    config.augment_scale = 0.1
    config.num_epochs = 20
    return config
