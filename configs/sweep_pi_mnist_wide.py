"""The fourth search behind configs/pi_mnist.py: wider nets, one as in the paper (Miyato et al. 2016).

python main.py --config=configs/sweep_pi_mnist_wide.py
"""

from ml_collections import ConfigDict

from configs import sweep_pi_mnist_noise


def get_config() -> ConfigDict:
    """Twice the weights of three layers of 512, in two shapes: a grid of two, 30 epochs, no noise."""
    config = sweep_pi_mnist_noise.get_config()
    config.sweep.name = "pi_mnist_wide"
    config.sweep.parameters = {"hidden_sizes": {"values": ((1200, 600, 300, 150), (1024, 1024))}}
    return config
