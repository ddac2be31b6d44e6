"""A random search of 60 trials over the assignment's suggested grid, none of them twice.

    python main.py --config=configs/sweep_random.py --config.sweep.run_cap=60

`sweep` is a dictionary as W&B has it; one of your own can be pasted in its place. Beside W&B's keys it knows `batch`,
the trials proposed at once (0: chosen by the program), and `report_test`, which notes each trial's test accuracy where
neither the search nor the choice of the best can see it.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """The default run, with nine fields searched."""
    config = default.get_config()
    config.sweep = {
        "method": "random",
        "metric": {"name": "val/accuracy", "goal": "maximize"},
        "parameters": {
            "num_epochs": {"values": (5, 10)},
            "num_layers": {"values": (3, 4, 5)},  # with hidden_size it makes hidden_sizes
            "hidden_size": {"values": (32, 64, 128)},
            "weight_decay": {"values": (0.0, 0.0005, 0.5)},
            "learning_rate": {"values": (1e-3, 1e-4)},
            "optimizer": {"values": ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")},
            "batch_size": {"values": (16, 32, 64)},
            "init": {"values": ("random", "xavier")},
            "activation": {"values": ("sigmoid", "tanh", "relu")},
        },
        "run_cap": 60,  # trials; 0: all there are
        "batch": 0,
        "report_test": False,
        "name": "random",  # of the study in a shared database
    }
    # '': study.journal in the workdir, for one worker. Several share journal:///FILE where they have a file system in
    # common, or postgresql://user@host/database from many machines.
    config.storage = ""
    return config
