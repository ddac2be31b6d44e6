"""The search behind configs/best_grid.py: nets of 128 neurons a layer on Fashion-MNIST, no augmentation.

python main.py --config=configs/sweep_best_grid.py
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """AdamW under a cosine, large batches, and what regularises: 12 Bayesian trials of 20 epochs."""
    config = default.get_config()
    config.batch_size = 128
    config.num_epochs = 20
    config.schedule = "cosine"
    config.decoupled_weight_decay = True
    config.ema_decay = 0.998
    config.sweep = {
        "method": "bayes",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {
            "num_layers": {"values": (2, 3)},
            "hidden_size": {"value": 128},
            "learning_rate": {"values": (2e-3, 4e-3)},
            "weight_decay": {"values": (0.02, 0.1, 0.3)},
            "dropout_rate": {"values": (0.1, 0.2)},
            "label_smoothing": {"values": (0.0, 0.1)},
            "norm": {"values": ("none", "layer")},
        },
        "run_cap": 12,
        "batch": 4,
        "report_test": False,
        "name": "best_grid",
    }
    config.storage = ""
    return config
