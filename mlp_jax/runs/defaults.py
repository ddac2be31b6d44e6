"""Every field of a run's config, with its unit and the reason for its default. The other configs override a few.

Fields never default to None, so each can be overridden on the command line: `--config.learning_rate=0.01`,
`--config.hidden_sizes=256,128`.
"""

import os
from typing import Any

from ml_collections import ConfigDict


def _data_dir() -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.environ.get("MLP_JAX_DATA_DIR") or os.path.expanduser(os.path.join(cache, "mlp_jax", "data"))


FIELDS: dict[str, Any] = {
    # Data
    "dataset": "fashion_mnist",  # fashion_mnist, mnist, kmnist, digits, mnist1d, a folder of IDX files, an .npz file
    "data_dir": "",  # a folder with one sub-folder a dataset; from the environment, else the user's cache
    "fallback_dataset": "digits",  # trained on where the dataset cannot be loaded; '' makes that an error
    "val_fraction": 0.1,  # share of the training set held out to choose by, in [0, 1); 0 trains on everything
    "stratified": False,  # hold out the same share of every class
    # Randomness
    "seed": 0,  # 0 … 2³²−1; the split, the initial weights, every shuffle and mask follow from it
    "seeds": 1,  # this many seeds, from `seed` upwards, trained as a population: mean ± sd
    # Network
    "hidden_sizes": (128, 128, 128),  # neurons of each hidden layer; () is softmax regression
    "activation": "relu",  # of the hidden layers
    "init": "he",  # he suits ReLU, xavier suits tanh; random is N(0, init_scale²); zeros never breaks symmetry
    "init_scale": 0.01,  # standard deviation of init='random'
    "dropout_rate": 0.0,  # fraction of hidden activations dropped, in [0, 1)
    "input_dropout_rate": 0.0,  # fraction of the inputs dropped in training, in [0, 1)
    "noise": 0.0,  # standard deviation of the Gaussian noise on the input of every layer in training; 0: off
    "norm": "none",  # none, or layer: each example's h·w to mean 0 and variance 1 in every hidden layer
    # Objective
    "loss": "cross_entropy",  # cross_entropy, or mse between softmax probabilities and one-hot labels
    "weight_decay": 0.0,  # λ: λ/2·‖W‖² in the objective, weights only
    "decoupled_weight_decay": False,  # take λ out of the objective and add −η·λ·w to the update (AdamW)
    "label_smoothing": 0.0,  # share of each target spread over all classes, in [0, 1); validation has none
    "confidence_penalty": 0.0,  # β: −β times the entropy of the predicted probabilities, in training; 0: off
    "vat_weight": 0.0,  # of KL(p(x) ‖ p(x + r)), r where p changes most (virtual adversarial training); 0: off
    "vat_eps": 2.0,  # ε: length of r, in units of the inputs as the network reads them; 0: off
    "vat_xi": 0.1,  # ξ: length of the random step at which the direction of r is looked for
    "mixup_alpha": 0.0,  # α: each example blended with another of its batch, by shares from Beta(α, α); 0: off
    "class_weight": (),  # what an example of each class counts in training, as 1,2,1; balanced: n/(K·n_k); (): the same
    "clip_norm": 0.0,  # largest global norm of the gradient; 0: off
    "max_norm": 0.0,  # largest norm of the weights that come into a unit, kept after every update; 0: off
    # Optimizer
    "optimizer": "adam",  # what makes an update of a gradient
    "learning_rate": 1e-3,  # η, per update
    "momentum": 0.9,  # μ of momentum, nesterov and muon
    "beta": 0.9,  # decay of RMSprop's mean square
    "beta1": 0.9,  # decay of Adam's, Nadam's and Muon's first moment
    "beta2": 0.999,  # decay of Adam's, Nadam's and Muon's second moment
    "eps": 1e-8,  # added to the root of rmsprop, adam, nadam and muon
    "ema_decay": 0.0,  # d of an average of the weights over updates, used in their place by validation, test; 0: off
    # Distortions of the training images, drawn anew for every image of every batch; 0: off
    "augment_flip": False,  # mirror left and right by the toss of a coin; not for digits and letters
    "augment_shift": 0,  # most pixels up, down, left and right, whole ones
    "augment_rotation": 0.0,  # most degrees either way
    "augment_scale": 0.0,  # most relative change of height and of width, each on its own, in [0, 1)
    "augment_shear": 0.0,  # most pixels sideways a row
    "augment_elastic": 0.0,  # standard deviation of a smooth field of displacements, pixels
    "augment_erase": 0,  # side of a square set to black, pixels
    # Learning-rate schedule: a factor on the learning rate, in units of epochs
    "schedule": "constant",  # constant, step, exponential, cosine
    "warmup_epochs": 0.0,  # epochs of linear rise from 0; 0: none
    "decay_rate": 0.5,  # step and exponential: the factor after every `decay_epochs`
    "decay_epochs": 5.0,  # step: at once after so many epochs; exponential: smoothly
    "final_factor": 0.0,  # cosine: the factor that the last epoch ends on
    # Training
    "batch_size": 32,  # examples an update; 0: the whole training set (gradient descent)
    "num_epochs": 10,  # passes over the training set
    "early_stopping": 0,  # stop after this many epochs without a better validation accuracy; 0: off
    "gradient": "autodiff",  # autodiff (jax.grad), or backprop (derived by hand)
    "precision": "float32",  # float32, tf32, bfloat16 (products; sums and parameters in float32), float64
    "probes": False,  # log norms of gradient, weights and update and the share of dead units, a layer each
    # --mode=evaluate
    "evaluate_split": "test",  # test, validation (the rows held out), train (the rows trained on)
    # The machine
    # Devices an axis, as 'data:8' or 'lanes:2,data:4': `data` divide each minibatch; `fsdp` do that and keep a part
    # each of every weight matrix and its moments, for nets too large for one device; `lanes` train a network each.
    # '': one CPU device, or all of an accelerator (data for a run, lanes for a sweep or several seeds). Changes the
    # result by rounding at most.
    "mesh": "",
    # The lanes of a sweep, or of several seeds. queue: each has a program of its own and waits for a device; mixed: one
    # program trains those of one batch size, whatever their depth, width, activation, loss, optimizer and numbers;
    # auto: queue on a CPU, mixed on an accelerator, where what cannot be mixed trains in groups of one shape. Changes
    # the result by rounding at most.
    "lanes": "auto",
    "steps_per_call": 0,  # steps of one call of the program; 0: about two seconds' worth. Never changes the result
    # Files
    "resume": "strict",  # strict: refuse a changed config; changed: go on with it; never: start over
    "checkpoint_seconds": 60.0,  # seconds between checkpoints within a run; each costs about 40 ms
    "tracker": "none",  # none, wandb, tensorboard, trackio; metrics.jsonl is always written
    "wandb_project": "mlp_jax",  # the project's name, with tracker='wandb' and 'trackio'
    "wandb_entity": "",  # with tracker='wandb'; '': the account's default
}


def get_config() -> ConfigDict:
    """The default run: a 784-128×3-10 ReLU net with Adam on Fashion-MNIST."""
    return ConfigDict({**FIELDS, "data_dir": _data_dir()})
