"""The search behind configs/best_mnist_small.py: how much to distort MNIST for nets of 128 neurons a layer.

python main.py --config=configs/sweep_best_mnist_small.py
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """AdamW under a cosine, distorted digits: six random trials of 12 epochs."""
    config = default.get_config()
    config.dataset = "mnist"
    config.batch_size = 128
    config.num_epochs = 12
    config.schedule = "cosine"
    config.learning_rate = 2e-3
    config.weight_decay = 0.02
    config.decoupled_weight_decay = True
    config.ema_decay = 0.998
    config.sweep = {
        "method": "random",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {
            "num_layers": {"values": (3, 5)},
            "hidden_size": {"value": 128},
            "norm": {"values": ("none", "layer")},
            "augment_shift": {"values": (0, 1)},
            "augment_rotation": {"values": (0.0, 10.0)},
            "augment_scale": {"values": (0.0, 0.1)},
            "augment_elastic": {"values": (0.8, 1.5)},
        },
        "run_cap": 6,
        "batch": 0,
        "report_test": False,
        "name": "best_mnist_small",
    }
    config.storage = ""
    return config
