"""The search behind configs/best_grid.py: nets of 128 neurons a layer on Fashion-MNIST, no augmentation.

python main.py --config=configs/sweep_best_grid.py
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """AdamW under a cosine, large batches, and what regularises: 20 Bayesian trials of 25 epochs."""
    config = default.get_config()
    config.batch_size = 128
    config.num_epochs = 25
    config.schedule = "cosine"
    config.decoupled_weight_decay = True
    config.sweep = {
        "method": "bayes",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {
            "num_layers": {"values": (2, 3, 4)},
            "hidden_size": {"value": 128},
            "learning_rate": {"values": (1e-3, 2e-3, 4e-3)},
            "weight_decay": {"values": (0.0, 0.02, 0.1, 0.3)},
            "dropout_rate": {"values": (0.05, 0.1, 0.2)},
            "label_smoothing": {"values": (0.0, 0.1)},
            "norm": {"values": ("none", "layer")},
            "ema_decay": {"values": (0.0, 0.998)},
        },
        "run_cap": 20,
        "batch": 4,
        "report_test": False,
        "name": "best_grid",
    }
    config.storage = ""
    return config
