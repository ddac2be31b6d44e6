"""scikit-learn's digits: 1,437 training images of 8 × 8 pixels, no download."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """A small net that trains in seconds."""
    config = default.get_config()
    config.dataset = "digits"
    config.hidden_sizes = (64, 64)
    config.num_epochs = 40
    return config
