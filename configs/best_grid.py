"""Fashion-MNIST by the assignment's largest width, 128 neurons a layer, one net, no augmentation.

    python main.py --config=configs/best_grid.py

The best of the 30 trials of configs/sweep_best_grid.py: 90.87 % on validation, seed 0. The last of 30 epochs gave
90.51 % there over four seeds, the last of 60 epochs 90.35 %.

Test, 10 seeds, trained on all 60,000 images: 90.33 ± 0.19 %, 90.10 to 90.64 % (results/best_grid.json); 15 s a seed,
two at a time on 2 cores (AMD EPYC), jax 0.10.2.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """784-128×2-10 with layer norm, smoothed labels, averaged weights, AdamW under a cosine; nothing held out."""
    config = default.get_config()
    config.seeds = 10
    config.val_fraction = 0.0
    config.hidden_sizes = (128, 128)
    config.norm = "layer"
    config.activation = "gelu"
    config.dropout_rate = 0.05
    config.label_smoothing = 0.1
    config.ema_decay = 0.998
    config.weight_decay = 0.1
    config.decoupled_weight_decay = True
    config.learning_rate = 0.002
    config.schedule = "cosine"
    config.batch_size = 128
    config.num_epochs = 30
    return config
