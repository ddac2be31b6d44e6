"""Adam on Fashion-MNIST: what `make train` trains."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net under Adam, its learning rate falling to 0."""
    config = default.get_config()
    config.optimizer = "adam"
    config.schedule = "cosine"
    return config
