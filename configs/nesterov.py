"""Nesterov momentum on Fashion-MNIST.

    python main.py --config=configs/nesterov.py

Seed 0: validation 89.35% (epoch 10), test 88.83%, 10 s of training on 2 cores (AMD EPYC), jax 0.10.2.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under Nesterov momentum."""
    config = default.get_config()
    config.optimizer = "nesterov"
    config.learning_rate = 0.02
    config.schedule = "cosine"
    return config
