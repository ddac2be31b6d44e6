"""The search behind configs/pi_fashion.py: that of configs/sweep_pi_mnist_plain.py on Fashion-MNIST.

python main.py --config=configs/sweep_pi_fashion.py
"""

from ml_collections import ConfigDict

from configs import sweep_pi_mnist_plain


def get_config() -> ConfigDict:
    """Less noise, a decay that is searched too; 16 Bayesian trials of 15 epochs."""
    config = sweep_pi_mnist_plain.get_config()
    config.dataset = "fashion_mnist"
    config.sweep.name = "pi_fashion"
    config.sweep.parameters.noise = {"values": (0.0, 0.1, 0.2, 0.3)}
    config.sweep.parameters.dropout_rate = {"values": (0.05, 0.2)}
    config.sweep.parameters.weight_decay = {"values": (0.1, 0.3)}
    return config
