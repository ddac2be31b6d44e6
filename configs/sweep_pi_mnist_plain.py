"""The search behind configs/pi_mnist_plain.py: noise and dropout for nets of 512 neurons a layer, no distortions.

python main.py --config=configs/sweep_pi_mnist_plain.py
"""

from ml_collections import ConfigDict

from configs import sweep_best_grid


def get_config() -> ConfigDict:
    """Noise at every layer, dropout of inputs and of hidden activations, how deep: 16 Bayesian trials of 15 epochs,
    around what configs/sweep_best_grid.py has found. Nothing in it knows where a pixel lies."""
    config = sweep_best_grid.search(
        "pi_mnist_plain",
        "bayes",
        16,
        {
            "num_layers": {"values": (2, 3)},
            "hidden_size": {"value": 512},
            "activation": {"values": ("relu", "gelu")},
            "noise": {"values": (0.0, 0.15, 0.3, 0.5)},
            "dropout_rate": {"values": (0.0, 0.2)},
            "input_dropout_rate": {"values": (0.0, 0.2)},
            "label_smoothing": {"values": (0.0, 0.1)},
        },
    )
    config.dataset = "mnist"
    config.norm = "layer"
    config.learning_rate = 2e-3
    config.num_epochs = 15
    return config
