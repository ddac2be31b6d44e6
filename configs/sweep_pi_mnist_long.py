"""The second search behind configs/pi_mnist.py: depth and the weight of the adversarial term in a longer training.

python main.py --config=configs/sweep_pi_mnist_long.py
"""

from ml_collections import ConfigDict

from configs import sweep_pi_mnist


def get_config() -> ConfigDict:
    """Around the best of configs/sweep_pi_mnist.py, neither noise nor smoothed labels: a grid of four, 30 epochs."""
    config = sweep_pi_mnist.get_config()
    config.sweep.name = "pi_mnist_long"
    config.sweep.method = "grid"
    config.sweep.run_cap = 4
    config.sweep.parameters = {
        "num_layers": {"values": (3, 4)},
        "hidden_size": {"value": 512},
        "vat_weight": {"values": (1.0, 3.0)},
    }
    config.vat_eps = 2.5
    config.label_smoothing = 0.0
    config.num_epochs = 30
    return config
