"""A grid of 36 trials: which activation and learning rate suit each optimizer on a 784-64×3-10 net?

    python main.py --config=configs/sweep_grid.py

The parameters are nested loops in this order, the last one running fastest: activation (sigmoid, tanh, relu), optimizer
(sgd first, nadam last), learning_rate. A parameter of your own finds its place by the list in
mlp_jax/sweeps/space.py, what shapes the compiled program outermost and num_epochs innermost. With
--config.sweep.run_cap=12 only sigmoid is tried.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """A smaller net and larger batches than the default's, for a grid of minutes."""
    config = default.get_config()
    config.hidden_sizes = (64, 64, 64)
    config.init = "xavier"
    config.batch_size = 64
    config.num_epochs = 5
    config.sweep = {
        "method": "grid",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {
            "activation": {"values": ("sigmoid", "tanh", "relu")},
            "optimizer": {"values": ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")},
            "learning_rate": {"values": (1e-3, 1e-4)},
        },
        "run_cap": 0,  # trials; 0: all there are
        "batch": 0,
        "report_test": False,
        "name": "grid",
    }
    config.storage = ""
    return config
