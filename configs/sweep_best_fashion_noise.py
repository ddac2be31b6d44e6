"""The fourth search behind configs/best_fashion.py: noise at every layer in place of dropout, as in pi_fashion.py.

python main.py --config=configs/sweep_best_fashion_noise.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_fashion_long


def get_config() -> ConfigDict:
    """How much noise on mirrored images, and whether a third layer helps: a grid of four, 40 epochs."""
    config = sweep_best_fashion_long.get_config()
    config.sweep.name = "best_fashion_noise"
    config.sweep.run_cap = 4
    config.sweep.parameters = {
        "num_layers": {"values": (2, 3)},
        "hidden_size": {"value": 1024},
        "noise": {"values": (0.05, 0.1)},
    }
    return config
