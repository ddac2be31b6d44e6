"""MNIST.

    python main.py --config=configs/mnist.py

Seed 0: validation 98.32% (epoch 8), test 98.09%, 9 s of training on 2 cores (AMD EPYC), jax 0.10.2.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under Adam on MNIST."""
    config = default.get_config()
    config.dataset = "mnist"
    config.schedule = "cosine"
    return config
