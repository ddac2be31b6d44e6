"""Nadam on Fashion-MNIST."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under Nadam."""
    config = default.get_config()
    config.optimizer = "nadam"
    config.schedule = "cosine"
    return config
