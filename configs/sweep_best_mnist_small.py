"""The search behind configs/best_mnist_small.py: how much to distort MNIST for nets of 128 neurons a layer.

python main.py --config=configs/sweep_best_mnist_small.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """Shifted, turned, scaled and elastic digits: 12 random trials of 20 epochs."""
    config = sweep_best_grid.search(
        "best_mnist_small",
        "random",
        12,
        {
            "num_layers": {"values": (2, 3, 4)},
            "hidden_size": {"value": 128},
            "norm": {"values": ("none", "layer")},
            "augment_shift": {"values": (0, 1)},
            "augment_rotation": {"values": (5.0, 10.0)},
            "augment_scale": {"values": (0.0, 0.1)},
            "augment_elastic": {"values": (0.0, 1.0)},
        },
    )
    config.dataset = "mnist"
    config.learning_rate = 2e-3
    config.weight_decay = 0.02
    config.num_epochs = 20
    return config
