"""MNIST."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under Adam on MNIST."""
    config = default.get_config()
    config.dataset = "mnist"
    config.schedule = "cosine"
    return config
