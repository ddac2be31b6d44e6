"""A sweep of quick trials of one shape, for kills."""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Learning rate, momentum and epochs of a small net on the digits; --config.sweep.method picks the search."""
    config = default.get_config()
    config.update({"dataset": "digits", "hidden_sizes": (8,), "optimizer": "momentum", "batch_size": 64})
    config.sweep = ConfigDict(
        {
            "method": "random",
            "batch": 6,
            "run_cap": 60,
            "early_terminate": {"type": "hyperband", "min_iter": 5},
            "parameters": {
                "learning_rate": {"values": [round(0.001 * 1.5**n, 6) for n in range(12)]},
                "momentum": {"values": [0.0, 0.5, 0.9]},
                "num_epochs": {"values": [20, 40]},
            },
        }
    )
    return config
