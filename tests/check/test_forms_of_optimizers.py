"""Optimizers as people write them beside `update(w, g, state, t)`: classes over layers, lists or arrays, and more."""

import numpy as np
import pytest

from mlp_jax.check import interactive
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, as_table
from mlp_jax.check.found import check_path


class Moments:
    """Adam's numbers, of each parameter by a key."""

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.learning_rate, self.beta1, self.beta2, self.epsilon = learning_rate, beta1, beta2, epsilon
        self.kept, self.t = {}, 0

    def change(self, key, g):
        m, v = self.kept.get(key, (0, 0))
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g * g
        self.kept[key] = m, v
        m, v = m / (1 - self.beta1**self.t), v / (1 - self.beta2**self.t)
        return -self.learning_rate * m / (np.sqrt(v) + self.epsilon)


class OverLayers(Moments):
    def step(self, layers):
        self.t += 1
        for i, layer in enumerate(layers):
            layer.W += self.change((i, "W"), layer.grad_W)
            layer.b += self.change((i, "b"), layer.grad_b)


class OverLists(Moments):
    def update(self, params, grads):
        self.t += 1
        return [w + self.change(i, g) for i, (w, g) in enumerate(zip(params, grads, strict=True))]


class OverOne(Moments):
    def update(self, w, grad):
        self.t += 1
        return w + self.change(0, grad)


@pytest.mark.parametrize("form", [OverLayers, OverLists, OverOne])
def test_a_class_is_driven_by_its_own_interface(form):
    found = interactive.optimizer(form, "adam")
    assert [one.verdict for one in found] == [RIGHT], as_table(found)


@pytest.mark.parametrize("form", [OverLayers, OverLists, OverOne])
def test_a_mistake_in_a_class_is_named(form):
    class Wrong(form):
        def change(self, key, g):
            before, self.t = self.t, self.t + 1  # t from 2
            try:
                return super().change(key, g)
            finally:
                self.t = before

    found = interactive.optimizer(Wrong, "adam")
    assert [(one.verdict, one.mistakes) for one in found] == [(WRONG, ("t_from_2",))], as_table(found)


class Still:
    def __init__(self, learning_rate=0.1):
        self.learning_rate = learning_rate

    def step(self, layers):
        pass


class Mute:
    pass


@pytest.mark.parametrize("thing", [Still, Mute])
def test_a_class_that_does_nothing_is_one_line(thing):
    (one,) = interactive.optimizer(thing, "sgd")
    assert one.verdict == FAILED
    assert one.note
    assert "\n" not in one.note


def test_a_look_ahead_around_the_gradient_is_not_called_momentum():
    class Nesterov:
        def __init__(self, learning_rate=0.01, momentum=0.9):
            self.learning_rate, self.momentum, self.u = learning_rate, momentum, {}

        def lookahead(self, layers):
            pass

        def step(self, layers):
            for i, layer in enumerate(layers):
                for name in ("W", "b"):
                    u = self.u[i, name] = self.momentum * self.u.get((i, name), 0) + getattr(layer, f"grad_{name}")
                    setattr(layer, name, getattr(layer, name) - self.learning_rate * u)

    (one,) = interactive.optimizer(Nesterov, "nesterov")
    assert one.verdict == UNSURE
    assert "look-ahead" in one.note


UPDATE = """
def update(w, g, state, t, lr=0.01, beta=0.9):
    u = state["u"] = beta * state.get("u", 0) + {share}g
    return w - lr * u
"""
OF_A_NETWORK = """
def momentum(network, learning_rate, beta, velocity):
    if velocity is None:
        velocity = [[0, 0] for _ in network.layers]
    for layer, kept in zip(network.layers, velocity):
        kept[0] = beta * kept[0] + {share}layer.grad_W
        kept[1] = beta * kept[1] + {share}layer.grad_b
        layer.W = layer.W - learning_rate * kept[0]
        layer.b = layer.b - learning_rate * kept[1]
    return velocity
"""


def verdicts(folder, text, share):
    (folder / "mine.py").write_text(text.format(share=share))
    return [(one.item, one.verdict, one.mistakes) for one in check_path(folder / "mine.py")]


def test_what_an_update_is_is_found_out_and_never_guessed(tmp_path):
    assert verdicts(tmp_path, UPDATE, "") == [("update (momentum)", RIGHT, ())]
    assert verdicts(tmp_path, UPDATE, "(1 - beta) * ") == [("update", UNSURE, ())]


def test_a_function_of_a_network_is_driven_with_its_state(tmp_path):
    assert verdicts(tmp_path, OF_A_NETWORK, "") == [("momentum", RIGHT, ())]
    assert verdicts(tmp_path, OF_A_NETWORK, "(1 - beta) * ") == [("momentum", WRONG, ("momentum_average",))]
