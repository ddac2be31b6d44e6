"""The search behind configs/best_mnist.py: how much to distort MNIST for nets of 1024 neurons a layer.

python main.py --config=configs/sweep_best_mnist.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_mnist_small


def get_config() -> ConfigDict:
    """Turned, sheared and elastic digits: 8 Bayesian trials of 12 epochs, otherwise as in
    configs/sweep_best_mnist_small.py."""
    config = sweep_best_mnist_small.get_config()
    config.sweep.name = "best_mnist"
    config.sweep.run_cap = 8
    config.sweep.parameters = {
        "num_layers": {"value": 2},
        "hidden_size": {"value": 1024},
        "dropout_rate": {"values": (0.0, 0.1)},
        "augment_rotation": {"values": (5.0, 10.0)},
        "augment_shear": {"values": (0.0, 0.1)},
        "augment_elastic": {"values": (0.75, 1.25)},
    }
    config.learning_rate = 1e-3
    config.batch_size = 256
    config.num_epochs = 12
    return config
