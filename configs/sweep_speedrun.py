"""The search behind configs/speedrun.py: how good a net is after two to five epochs.

    python main.py --config=configs/sweep_speedrun.py

The goal is a mean test accuracy of 88.08 %; with a margin, since validation images are not test images.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """Shapes, batches, rates and lengths under a cosine: 24 random trials."""
    config = default.get_config()
    config.schedule = "cosine"
    config.sweep = {
        "method": "random",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {
            "hidden_sizes": {"values": ("128", "256", "128-128")},
            "batch_size": {"values": (64, 128, 256)},
            "learning_rate": {"values": (2e-3, 4e-3, 8e-3)},
            "num_epochs": {"values": (3, 4, 5)},
        },
        "run_cap": 24,
        "batch": 0,
        "report_test": False,
        "name": "speedrun",
    }
    config.storage = ""
    return config
