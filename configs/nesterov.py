"""Nesterov momentum on Fashion-MNIST."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under Nesterov momentum."""
    config = default.get_config()
    config.optimizer = "nesterov"
    config.learning_rate = 0.02
    config.schedule = "cosine"
    return config
