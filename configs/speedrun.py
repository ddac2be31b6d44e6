"""The mean test accuracy of 20 seeds at or above 88.08 %, the best that the sources report, in little time.

    python main.py --config=configs/speedrun.py

On validation (--config.val_fraction=0.1 --config.seeds=5): 89.20 ± 0.43 %. The 20 seeds on all images, and the seconds
on an idle machine, are not measured yet.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """784-256-10, Adam under a short cosine; 20 seeds, nothing held out."""
    config = default.get_config()
    config.seeds = 20
    config.val_fraction = 0.0
    config.hidden_sizes = (256,)
    config.batch_size = 128
    config.learning_rate = 0.006
    config.schedule = "cosine"
    config.num_epochs = 6
    return config
