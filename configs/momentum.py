"""Momentum (heavy ball) on Fashion-MNIST."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under momentum."""
    config = default.get_config()
    config.optimizer = "momentum"
    config.learning_rate = 0.02  # a tenth of what SGD bears: 1/(1 − μ) is 10
    return config
