"""A worker of a peer's sweep: Optuna hands out the trials, the peer trains them. `benchmarks.sweep` starts one a core.

    python -m benchmarks.sweep_peers PEER FOLDER CORE    # trains until no trial of FOLDER/study.log is left
    python -m benchmarks.sweep_peers PEER                # how far its updates are from ours, a line of JSON

Nothing of the project is imported where time is taken. A peer has what its users would write: its own optimizers and
initialisers with the numbers of ours, inputs as float32 beforehand, validation after every epoch.
"""

import json
import os
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

Rows = tuple[np.ndarray, np.ndarray]  # inputs float32 (n, inputs), labels int64 (n,)
Weights = list[tuple[np.ndarray, np.ndarray]]  # w (in, out) and b of each layer
NAMES = {"sgd": (0.0, False), "momentum": (0.9, False), "nesterov": (0.9, True)}  # μ, and whether it looks ahead
CLASSES = 10


class Keras:
    """Keras 3 on JAX: `model.fit`. Its RMSprop has ε under the root, so squared; its Nadam has a momentum schedule."""

    def __init__(self, trial: dict[str, Any], inputs: int) -> None:
        os.environ["KERAS_BACKEND"] = "jax"
        import keras

        keras.utils.clear_session()
        rate, name, decay = trial["learning_rate"], trial["optimizer"], trial["weight_decay"]

        def dense(width: int, activation: str | None) -> Any:
            start = keras.initializers.RandomNormal(0, 0.01) if trial["init"] == "random" else "glorot_uniform"
            penalty = keras.regularizers.L2(decay / 2) if decay else None
            return keras.layers.Dense(width, activation, kernel_initializer=start, kernel_regularizer=penalty)

        hidden = [dense(trial["hidden_size"], trial["activation"]) for _ in range(trial["num_layers"])]
        self.batch, self.model = (
            trial["batch_size"],
            keras.Sequential([keras.Input((inputs,)), *hidden, dense(10, None)]),
        )
        others = {"rmsprop": ("RMSprop", 0.9, 1e-16), "adam": ("Adam", 0.9, 1e-8), "nadam": ("Nadam", 0.9, 1e-8)}
        if name in NAMES:
            optimizer = keras.optimizers.SGD(rate, *NAMES[name])
        else:
            kind, beta, eps = others[name]
            optimizer = getattr(keras.optimizers, kind)(rate, beta, epsilon=eps)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], steps_per_execution=STEPS)

    def fit(self, training: Rows, validation: Rows, epochs: int) -> list[float]:
        """Validation accuracy after each epoch."""
        sizes = {"batch_size": self.batch, "validation_batch_size": 1000}
        told = self.model.fit(*training, epochs=epochs, validation_data=validation, verbose=0, **sizes)
        return told.history["val_accuracy"]

    @property
    def weights(self) -> Weights:
        """A copy of them."""
        flat = self.model.get_weights()
        return list(zip(flat[::2], flat[1::2], strict=True))

    @weights.setter
    def weights(self, weights: Weights) -> None:
        self.model.set_weights([array for layer in weights for array in layer])


class Torch:
    """PyTorch, eager, tensors in memory and a plain loop; SGD and Adam fused. Its Nadam without momentum schedule."""

    def __init__(self, trial: dict[str, Any], inputs: int) -> None:
        import torch
        from torch import nn

        torch.set_num_threads(1)
        rate, name, self.batch = trial["learning_rate"], trial["optimizer"], trial["batch_size"]
        activation = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}[trial["activation"]]
        sizes = (inputs, *(trial["hidden_size"],) * trial["num_layers"], CLASSES)
        self.layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.model = nn.Sequential(*[part for layer in self.layers for part in (layer, activation())][:-1])
        for layer in self.layers:
            nn.init.normal_(layer.weight, 0, 0.01) if trial["init"] == "random" else nn.init.xavier_uniform_(
                layer.weight
            )
            nn.init.zeros_(layer.bias)
        decayed = {"params": [layer.weight for layer in self.layers], "weight_decay": trial["weight_decay"]}
        groups = [decayed, {"params": [layer.bias for layer in self.layers]}]
        if name in NAMES:
            mu, ahead = NAMES[name]
            self.optimizer = torch.optim.SGD(groups, rate, mu, nesterov=ahead, fused=True)
        elif name == "rmsprop":
            self.optimizer = torch.optim.RMSprop(groups, rate, alpha=0.9)
        elif name == "adam":
            self.optimizer = torch.optim.Adam(groups, rate, fused=True)
        else:
            self.optimizer = torch.optim.NAdam(groups, rate, momentum_decay=1e9)

    def fit(self, training: Rows, validation: Rows, epochs: int) -> list[float]:
        """Validation accuracy after each epoch."""
        import torch

        inputs, labels, val_inputs, val_labels = map(torch.from_numpy, (*training, *validation))
        loss_of, accuracies = torch.nn.CrossEntropyLoss(), []
        for _ in range(epochs):
            for indices in torch.randperm(len(labels)).split(self.batch):
                self.optimizer.zero_grad()
                loss_of(self.model(inputs[indices]), labels[indices]).backward()
                self.optimizer.step()
            with torch.no_grad():
                accuracies.append((self.model(val_inputs).argmax(1) == val_labels).float().mean().item())
        return accuracies

    @property
    def weights(self) -> Weights:
        """A copy of them."""
        return [(layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()) for layer in self.layers]

    @weights.setter
    def weights(self, weights: Weights) -> None:
        import torch

        with torch.no_grad():
            for layer, (w, b) in zip(self.layers, weights, strict=True):
                layer.weight.copy_(torch.from_numpy(w.T.copy()))
                layer.bias.copy_(torch.from_numpy(b))


class Sklearn:
    """scikit-learn's MLPClassifier. It has neither RMSprop nor Nadam (Adam in their place) nor a choice of init."""

    def __init__(self, trial: dict[str, Any], inputs: int) -> None:
        from sklearn.neural_network import MLPClassifier

        mu, ahead = NAMES.get(trial["optimizer"], (0.9, False))
        self.model = MLPClassifier(
            (trial["hidden_size"],) * trial["num_layers"],
            "logistic" if trial["activation"] == "sigmoid" else trial["activation"],
            solver="sgd" if trial["optimizer"] in NAMES else "adam",
            alpha=trial["weight_decay"] * trial["batch_size"],  # it divides by the rows of the batch
            batch_size=trial["batch_size"],
            learning_rate_init=trial["learning_rate"],
            momentum=mu,
            nesterovs_momentum=ahead,
        )

    def fit(self, training: Rows, validation: Rows, epochs: int) -> list[float]:
        """Validation accuracy after each epoch."""
        accuracies = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(epochs):
                self.model.partial_fit(*training, classes=np.arange(CLASSES))
                accuracies.append(self.model.score(*validation))
        return accuracies

    @property
    def weights(self) -> Weights:
        """A copy of them."""
        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [(w.copy(), b.copy()) for w, b in layers]

    @weights.setter
    def weights(self, weights: Weights) -> None:
        self.model.coefs_, self.model.intercepts_ = [w.copy() for w, _ in weights], [b.copy() for _, b in weights]
        del self.model._optimizer  # which has made an update of the old ones


PEERS: dict[str, Any] = {"keras": Keras, "torch": Torch, "sklearn": Sklearn}
STEPS = 32  # of one execution of Keras's


def updates(peer: Any, count: int = 5) -> dict[str, float]:
    """optimizer -> the largest difference of the weights from ours after `count` updates, as a share of our way."""
    import jax

    import mlp_jax
    from mlp_jax.model import Layer
    from mlp_jax.optimizers import COEFFICIENTS, OPTIMIZERS

    generator = np.random.default_rng(0)
    rows = generator.random((64, 12), np.float32), generator.integers(0, CLASSES, 64)
    net = {"num_layers": 2, "hidden_size": 8, "activation": "tanh", "init": "xavier", "batch_size": 64}
    differences = {}
    for name in COEFFICIENTS:  # the six that each peer has
        trial = {**net, "learning_rate": 1e-3, "weight_decay": 0.5, "optimizer": name}
        model, optimizer = peer(trial, 12), OPTIMIZERS[name][0](1e-3)
        model.fit(rows, rows, 1)  # so that there are weights
        model = peer(trial, 12) if peer is not Sklearn else model
        start = [(w, b + np.float32(0.1)) for w, b in model.weights]
        model.weights = start
        model.fit(rows, rows, count)
        params = [Layer(*layer) for layer in start]
        state = optimizer.init(params)
        for _ in range(count):
            _, grads = mlp_jax.grad(params, *rows, activation="tanh", weight_decay=0.5)
            steps, state = optimizer.update(list(grads), state, params)
            params = jax.tree.map(np.add, params, steps)
        way = max(
            float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(start), strict=True)
        )
        ends = zip(jax.tree.leaves(params), jax.tree.leaves(model.weights), strict=True)
        differences[name] = max(float(np.abs(a - b).max()) for a, b in ends) / way
    return differences


def work(peer: Any, folder: Path, core: int) -> None:
    """Trains what the study has to give, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    told = json.loads((folder / "trials.json").read_text())
    with np.load(folder / "data.npz") as data:
        images, labels, val_images, val_labels = (data[name] for name in data.files)
    training, validation = (
        (pixels.astype(np.float32) / 255, classes.astype(np.int64))
        for pixels, classes in ((images, labels), (val_images, val_labels))
    )

    def objective(trial: optuna.Trial) -> float:
        if trial.number >= told["trials"]:  # the list is at its end; another worker may have the last of it
            trial.study.stop()
            raise optuna.TrialPruned
        chosen = {field: trial.suggest_categorical(field, values) for field, values in told["space"].items()}
        return max(peer(chosen, images.shape[1]).fit(training, validation, chosen["num_epochs"]))

    storage = JournalStorage(JournalFileBackend(str(folder / "study.log")))
    optuna.load_study(study_name="sweep", storage=storage).optimize(objective)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(updates(PEERS[sys.argv[1]])))
    else:
        work(PEERS[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]))
