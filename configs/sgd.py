"""Plain stochastic gradient descent on Fashion-MNIST."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under SGD."""
    config = default.get_config()
    config.optimizer = "sgd"
    config.learning_rate = 0.1
    config.schedule = "cosine"
    return config
