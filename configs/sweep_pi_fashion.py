"""The search behind configs/pi_fashion.py: noise and dropout for nets of 256 neurons a layer under Muon.

python main.py --config=configs/sweep_pi_fashion.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """What regularises, how fast, how deep: 20 Bayesian trials of 8 epochs. Nothing in it knows where a pixel lies."""
    config = sweep_best_grid.search(
        "pi_fashion",
        "bayes",
        20,
        {
            "num_layers": {"values": (2, 3)},
            "hidden_size": {"value": 256},
            "learning_rate": {"values": (0.05, 0.1)},
            "weight_decay": {"values": (0.0, 0.01)},
            "noise": {"values": (0.0, 0.1, 0.2)},
            "dropout_rate": {"values": (0.0, 0.1, 0.3)},
            "input_dropout_rate": {"values": (0.0, 0.1)},
        },
    )
    config.update(sweep_best_grid.FOUND)
    config.optimizer = "muon"
    config.ema_decay = 0.98
    config.batch_size = 512
    config.num_epochs = 8
    return config
