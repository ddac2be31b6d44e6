"""RMSprop on Fashion-MNIST."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under RMSprop."""
    config = default.get_config()
    config.optimizer = "rmsprop"
    config.learning_rate = 5e-4
    config.schedule = "cosine"
    return config
