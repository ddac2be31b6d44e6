"""Zero against Xavier initialisation: the gradients of five neurons, exactly, in each of the first 50 iterations."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mlp_jax.gradients import GRADIENTS, Step
from mlp_jax.lanes.fit import Task, make_task, order_of
from mlp_jax.questions.compare import versus
from mlp_jax.questions.lab import Answer, Lab, accuracies, diverged, row
from mlp_jax.reports import plots
from mlp_jax.reports.html import spoken
from mlp_jax.sweeps.sweep import trial_config
from mlp_jax.training import Lane, init_lane, take_batch, train_step

TITLE = "Symmetry"
QUESTION = "Why must weights not start from zero? The gradients of five neurons over 50 iterations."
NEURONS, ITERATIONS = 5, 50
ACTIVATIONS, INITS = ("sigmoid", "relu"), ("zeros", "xavier")
SAME = 1e-4  # relative; sums in another order differ by less


def answer(lab: Lab) -> Answer:
    """Norms of the gradient of each neuron's incoming weights in the first hidden layer; then whole trainings."""
    runs = lab.train({f"{a} {i}": {"activation": a, "init": i} for a in ACTIVATIONS for i in INITS})
    pictures, sentences, table = [], [], []
    for activation in ACTIVATIONS:
        by_init = {}
        for init in INITS:
            config = trial_config(
                lab.base, {"activation": activation, "init": init, "dropout_rate": 0.0, "vat_weight": 0.0}
            )
            by_init[init] = gradients(make_task(config, lab.dataset, *lab.first_place))
        panels = [_panel(activation, init, values) for init, values in by_init.items()]
        pictures.append(lab.draw("symmetry", panels, activation))
        sentences.append(described(spoken(activation), by_init))
        zeros, xavier = (accuracies(runs[f"{activation} {init}"]) for init in INITS)
        sentences.append(versus(f"Trained with {spoken(activation)}", "zero", zeros, "Xavier", xavier))
        table += [
            row(runs[f"{activation} {init}"], activation=spoken(activation), init=spoken(init),
                **{"spread of the gradients": spread(values)})
            for init, values in by_init.items()
        ]  # fmt: skip
    return Answer([*sentences, *diverged(runs)], pictures, table)


def gradients(task: Task) -> np.ndarray:
    """‖∂loss/∂w_j‖ of the first neurons j of the first hidden layer before each update, (iterations, neurons)."""
    static = task.static
    order = order_of(task, 1)
    steps = len(order.indices)

    def step(lane: Lane, number: jax.Array) -> tuple[Lane, jax.Array]:
        batch = take_batch(static, task.data, order, number, static.batch_size, task.hparams.class_weight)
        targets = jax.nn.one_hot(batch.labels, static.sizes[-1], dtype=static.dtype)
        drawn = Step(batch.inputs, targets, batch.weights / batch.total)
        _, grads = GRADIENTS[static.gradient](static, task.hparams, lane.state.params, drawn)
        norms = jnp.sqrt(jnp.sum(grads[0].w[:, :NEURONS] ** 2, axis=0))
        return train_step(static, task.hparams, task.keys, lane, batch), norms

    def run() -> jax.Array:
        batches = jnp.arange(ITERATIONS, dtype=jnp.int32) % steps
        return jax.lax.scan(step, init_lane(static, task.hparams, task.keys), batches)[1]

    return np.asarray(jax.jit(run)(), float)


def _panel(activation: str, init: str, norms: np.ndarray) -> plots.Panel:
    lines = {f"neuron {j + 1}": (range(1, len(norms) + 1), norms[:, j]) for j in range(norms.shape[1])}
    state = ": all are 0" if not norms.any() else ": all on one line" if spread(norms) < SAME else ""
    title = f"{spoken(activation)}, {_called(init)} initialisation{state}"
    return plots.Panel(lines, "iteration", "norm of its gradient", title)


def _called(init: str) -> str:
    return "zero" if init == "zeros" else spoken(init)


def spread(norms: np.ndarray) -> float:
    """The largest relative difference between neurons in any iteration: max over t of (max_j − min_j)/max_j."""
    top = norms.max(axis=1)
    return float(np.max(np.divide(top - norms.min(axis=1), top, out=np.zeros_like(top), where=top > 0)))


def described(activation: str, norms: Mapping[str, np.ndarray]) -> str:
    """What the neurons' gradients are under each initialisation: none, the same, or different ones."""
    clauses = []
    for init, values in norms.items():
        name, count = _called(init), values.shape[1]
        if not values.any():
            clauses.append(f"from {name} weights the {count} neurons receive no gradient at all")
        elif spread(values) < SAME:
            clauses.append(
                f"from {name} weights all {count} neurons receive one and the same gradient, so they stay copies"
            )
        else:
            clauses.append(
                f"from {name} weights their gradients differ, by up to {100 * spread(values):.0f} % of the largest"
            )
    return f"With {activation}, {'; '.join(clauses)}."
