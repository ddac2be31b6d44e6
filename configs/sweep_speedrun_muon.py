"""The second search behind configs/speedrun.py: Muon, whose few large steps go further.

    python main.py --config=configs/sweep_speedrun_muon.py

As in configs/sweep_speedrun.py, the goal is a mean test accuracy of 88.08 %, with a margin.
"""

from ml_collections import ConfigDict

from configs import sweep_speedrun


def get_config() -> ConfigDict:
    """Widths, large batches, rates and lengths under a cosine, each with three seeds: a grid of 243 trials."""
    config = sweep_speedrun.get_config()
    config.optimizer = "muon"
    config.sweep.name = "speedrun_muon"
    config.sweep.parameters = {
        "hidden_sizes": {"values": ("64", "96", "128")},
        "batch_size": {"values": (256, 512, 1024)},
        "learning_rate": {"values": (0.05, 0.1, 0.2)},
        "num_epochs": {"values": (1, 2, 3)},
        "seed": {"values": (0, 1, 2)},
    }
    return config
