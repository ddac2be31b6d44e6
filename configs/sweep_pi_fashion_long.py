"""The third search behind configs/pi_fashion.py: whether noise needs dropout beside it in a longer training.

python main.py --config=configs/sweep_pi_fashion_long.py
"""

from ml_collections import ConfigDict

from configs import sweep_pi_fashion_wide


def get_config() -> ConfigDict:
    """Around the noise of configs/sweep_pi_fashion_wide.py: a grid of two, 50 epochs."""
    config = sweep_pi_fashion_wide.get_config()
    config.sweep.name = "pi_fashion_long"
    config.sweep.run_cap = 2
    config.sweep.parameters.noise = {"value": 0.1}
    config.sweep.parameters.dropout_rate = {"values": (0.0, 0.1)}
    config.num_epochs = 50
    return config
