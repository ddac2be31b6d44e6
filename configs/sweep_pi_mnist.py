"""The search behind configs/pi_mnist.py: virtual adversarial training of the nets of configs/sweep_pi_mnist_plain.py.

python main.py --config=configs/sweep_pi_mnist.py
"""

from ml_collections import ConfigDict

from configs import sweep_pi_mnist_plain


def get_config() -> ConfigDict:
    """How far the adversary goes, and what is still needed beside it: 8 Bayesian trials of 15 epochs."""
    config = sweep_pi_mnist_plain.get_config()
    config.sweep.name = "pi_mnist"
    config.sweep.run_cap = 8
    config.sweep.parameters = {
        "num_layers": {"values": (2, 3)},
        "hidden_size": {"value": 512},
        "vat_eps": {"values": (1.5, 2.5, 4.0)},
        "noise": {"values": (0.0, 0.1)},
        "label_smoothing": {"values": (0.0, 0.1)},
    }
    config.activation = "gelu"
    config.vat_weight = 1.0
    return config
