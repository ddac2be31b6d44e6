"""The third search behind configs/pi_mnist.py: noise at every layer beside the adversary.

python main.py --config=configs/sweep_pi_mnist_noise.py
"""

from ml_collections import ConfigDict

from configs import sweep_pi_mnist_long


def get_config() -> ConfigDict:
    """Around what had most after the last epoch there, three layers and a weight of 3: a grid of two, 30 epochs."""
    config = sweep_pi_mnist_long.get_config()
    config.sweep.name = "pi_mnist_noise"
    config.sweep.run_cap = 2
    config.sweep.parameters = {
        "num_layers": {"value": 3},
        "hidden_size": {"value": 512},
        "noise": {"values": (0.1, 0.2)},
    }
    config.vat_weight = 3.0
    return config
