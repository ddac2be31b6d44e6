"""Networks as classes that are made in other ways than by the parsed flags, and that hold their optimizer."""

from itertools import pairwise

import numpy as np
import pytest

from mlp_jax.check import interactive
from mlp_jax.check.findings import RIGHT, UNSURE, WRONG, as_table


class Layer:
    def __init__(self, n_in, n_out):
        limit = np.sqrt(6 / (n_in + n_out))
        self.W, self.b = np.random.uniform(-limit, limit, (n_in, n_out)), np.zeros((1, n_out))
        self.grad_W, self.grad_b = np.zeros_like(self.W), np.zeros_like(self.b)


class OneStep:
    def __init__(self, rate):
        self.learning_rate = rate

    def move(self, layers, decay=0.0):
        for layer in layers:
            layer.W = layer.W - self.learning_rate * layer.grad_W
            layer.b = layer.b - self.learning_rate * layer.grad_b


class OverLayers(OneStep):
    def step(self, layers):
        self.move(layers)


class WithRate(OneStep):
    def step(self, layers, learning_rate, weight_decay):
        self.learning_rate = learning_rate
        self.move(layers)


class WithData(OneStep):
    def step(self, layers, x, y):
        self.move(layers)


class Net:
    """ReLU, cross-entropy; its gradients as the 2026 skeleton gives them, the last layer first."""

    holds, wrong = OverLayers, 1.0

    def __init__(self, layer_sizes, activation="relu", learning_rate=0.01, optimizer="sgd"):
        if activation != "relu" or optimizer != "sgd":
            raise ValueError("only relu and sgd")
        self.layers = [Layer(*pair) for pair in pairwise(layer_sizes)]
        self.optimizer = self.holds(learning_rate)

    def forward(self, X):
        self.entered = [X]
        for layer in self.layers[:-1]:
            self.entered.append(np.maximum(self.entered[-1] @ layer.W + layer.b, 0))
        return self.entered[-1] @ self.layers[-1].W + self.layers[-1].b

    def backward(self, y_true, y_pred):
        p = np.exp(y_pred - y_pred.max(axis=1, keepdims=True))
        delta = (p / p.sum(axis=1, keepdims=True) - y_true) / len(y_true)
        grad_Ws, grad_bs = [], []
        for layer, h in zip(self.layers[::-1], self.entered[::-1], strict=True):
            layer.grad_W, layer.grad_b = h.T @ delta * self.wrong, delta.sum(axis=0, keepdims=True)
            grad_Ws.append(layer.grad_W)
            grad_bs.append(layer.grad_b)
            delta = (delta @ layer.W.T) * (h > 0)
        return grad_Ws, grad_bs


def gradients_of(found):
    return [one for one in found if one.item.startswith("gradients of cross_entropy")]


@pytest.mark.parametrize("thing", [Net, Net([7, 5, 4, 3])], ids=["the class", "one made of it"])
def test_a_network_made_by_its_sizes_is_right(thing):
    found = interactive.network(thing)
    assert gradients_of(found), as_table(found)
    assert {one.verdict for one in found} == {RIGHT}, as_table(found)


@pytest.mark.parametrize("sizes", [[7, 5, 4, 3], [6, 3]])
def test_a_wrong_factor_is_found_in_one_that_is_made(sizes):
    network = Net(sizes)
    network.wrong = 2.0
    assert {one.verdict for one in gradients_of(interactive.network(network))} == {WRONG}


@pytest.mark.parametrize(("holds", "verdict"), [(OverLayers, RIGHT), (WithRate, RIGHT), (WithData, UNSURE)])
def test_an_optimizer_that_a_network_holds_is_driven_by_what_it_needs(holds, verdict):
    made = type("Net", (Net,), {"holds": holds})
    verdicts = {one.verdict for one in interactive.network(made) if one.item == "sgd"}
    assert verdicts == {verdict}
