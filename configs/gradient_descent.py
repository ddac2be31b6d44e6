"""Full-batch gradient descent on Fashion-MNIST: one update an epoch."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default net, all training examples in every update."""
    config = default.get_config()
    config.optimizer = "sgd"
    config.learning_rate = 0.1
    config.batch_size = 0
    config.num_epochs = 50
    return config
