"""The mean test accuracy of 20 seeds at or above 88.08 %, the best that the sources report, in little time.

    python main.py --config=configs/speedrun.py

Test, 20 seeds: 88.54 ± 0.15 %, 88.30 to 88.76 % (results/speedrun.json). 3.6 s a seed, two at a time on 2 cores
(AMD EPYC), jax 0.10.2; 3.5 s alone. On validation (--config.val_fraction=0.1 --config.seeds=5):
89.20 ± 0.43 %.
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
