"""Adam on Fashion-MNIST: what `make train` trains.

    python main.py --config=configs/adam.py

Seed 0: validation 89.77% (epoch 9), test 89.17%, 9 s of training on 2 cores (AMD EPYC), jax 0.10.2.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under Adam, its learning rate falling to 0."""
    config = default.get_config()
    config.optimizer = "adam"
    config.schedule = "cosine"
    return config
