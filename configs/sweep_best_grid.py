"""The search behind configs/best_grid.py: nets of 128 neurons a layer on Fashion-MNIST, no augmentation.

python main.py --config=configs/sweep_best_grid.py
"""

from ml_collections import ConfigDict

from configs import default

RECIPE = {
    "batch_size": 128,
    "schedule": "cosine",
    "decoupled_weight_decay": True,
    "ema_decay": 0.998,
    "weight_decay": 0.1,
    "storage": "",
}

# What the search below has found, and the searches around it start from.
FOUND = {"norm": "layer", "activation": "gelu", "label_smoothing": 0.1}


def search(name: str, method: str, run_cap: int, parameters: dict[str, dict]) -> ConfigDict:
    """A config that searches `parameters` by validation accuracy around AdamW with a cosine and averaged weights."""
    config = default.get_config()
    config.update(RECIPE)
    config.sweep = {
        "method": method,
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": parameters,
        "run_cap": run_cap,
        "report_test": False,
        "name": name,
    }
    return config


def get_config() -> ConfigDict:
    """What regularises, how fast, how deep: 30 Bayesian trials of 30 epochs."""
    config = search(
        "best_grid",
        "bayes",
        30,
        {
            "num_layers": {"values": (2, 3, 4)},
            "hidden_size": {"value": 128},
            "learning_rate": {"values": (1e-3, 2e-3, 4e-3)},
            "weight_decay": {"values": (0.02, 0.1, 0.3)},
            "dropout_rate": {"values": (0.05, 0.1, 0.2)},
            "label_smoothing": {"values": (0.0, 0.1)},
            "norm": {"values": ("none", "layer")},
            "activation": {"values": ("relu", "gelu", "swish")},
        },
    )
    config.num_epochs = 30
    return config
