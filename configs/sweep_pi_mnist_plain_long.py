"""The second search behind configs/pi_mnist_plain.py: how much noise in a longer training.

python main.py --config=configs/sweep_pi_mnist_plain_long.py
"""

from ml_collections import ConfigDict

from configs import sweep_pi_mnist_plain


def get_config() -> ConfigDict:
    """Around the best of configs/sweep_pi_mnist_plain.py: a grid of two, 50 epochs."""
    config = sweep_pi_mnist_plain.get_config()
    config.sweep.name = "pi_mnist_plain_long"
    config.sweep.method = "grid"
    config.sweep.run_cap = 2
    config.sweep.parameters = {
        "num_layers": {"value": 3},
        "hidden_size": {"value": 512},
        "noise": {"values": (0.15, 0.25)},
    }
    config.activation = "gelu"
    config.label_smoothing = 0.1
    config.num_epochs = 50
    return config
