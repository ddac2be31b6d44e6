"""The table of known mistakes: each is told from every other by its numbers, and the page has them all."""

import importlib.util
from pathlib import Path

import pytest

from mlp_jax.check import reference
from mlp_jax.check.checks import tensors
from mlp_jax.check.judge import judge
from mlp_jax.check.mistakes import EQUATIONS, FAMILIES, MISTAKES, of_family
from mlp_jax.check.networks import case
from mlp_jax.check.updates import given, judge_path

ROOT = Path(__file__).resolve().parents[2]
CASES = [case((6, *hidden, 6), batch, 0) for hidden, batch in (((5, 3), 7), ((), 5), ((7, 5, 3), 33), ((6, 6, 6), 4))]


def test_at_least_forty_each_said_in_full():
    assert len(MISTAKES) >= 40
    for name, mistake in MISTAKES.items():
        assert mistake.family in FAMILIES.keys() & EQUATIONS.keys(), name
        assert all((mistake.symptom, mistake.code, mistake.mend, mistake.effect)), name
        assert not mistake.effect.endswith("."), name


def predicted(activation, loss, lines):
    found = []
    for one in CASES:
        try:
            layers = reference.gradients(one.params, one.x, one.y, activation, loss, 0.0, reference.Backward(**lines))
            found.append(tensors(layers))
        except (ValueError, IndexError):
            found.append(None)
    return found


@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_each_gradient_mistake_is_named_and_no_other(activation, loss):
    known = of_family("batch", "delta", what=loss) | of_family("layers", what=activation)
    right = predicted(activation, loss, {})
    for name, mistake in known.items():
        for variant in mistake.variants:
            found = predicted(activation, loss, variant)
            result = judge(found, lambda i, lines: predicted_at(i, activation, loss, lines), known)
            if result.right:  # the same number here: ReLU's derivative squared
                assert all(f is not None and (f.keys() == r.keys()) for f, r in zip(found, right, strict=True))
                continue
            assert result.names == (name,) or (name,) in result.others, (name, result.names, result.others)
            if activation == "sigmoid":
                assert result.names == (name,)


def predicted_at(index, activation, loss, lines):
    one = CASES[index]
    return tensors(reference.gradients(one.params, one.x, one.y, activation, loss, 0.0, reference.Backward(**lines)))


@pytest.mark.parametrize("name", reference.OPTIMIZERS)
def test_each_mistake_of_an_optimizer_is_named_and_no_other(name):
    start, grads = given([(3, 4), (4,), (4, 2), (2,)], 0)
    numbers = reference.Numbers()
    for mistake, entry in of_family("optimizer", what=name).items():
        for variant in entry.variants:
            paths = [
                reference.path(name, w, [g[i] for g in grads], numbers, reference.Step(**variant), (i, 4)) - w
                for i, w in enumerate(start)
            ]
            result, _ = judge_path(name, paths, start, grads, [numbers])
            assert result.right or result.names == (mistake,), (mistake, result.names, result.others)
            idle = {("momentum_average", "momentum"), ("momentum_swapped", "momentum")}
            lines = set(variant)
            used = {"sgd": {"update"}, "momentum": {"trace", "momentum", "update", "kept"}}
            if result.right:  # a line that this optimizer does not have
                assert (name in used and not lines & used[name]) or (mistake, name) in idle, (mistake, name)


def test_two_mistakes_together_are_named():
    both = MISTAKES["jacobian_missing"].variants[0] | MISTAKES["batch_twice"].variants[0]
    known = of_family("batch", "delta", what="mse") | of_family("layers", what="tanh")
    found = predicted("tanh", "mse", both)
    result = judge(found, lambda i, lines: predicted_at(i, "tanh", "mse", lines), known)
    assert set(result.names) == {"jacobian_missing", "batch_twice"}


def test_what_is_no_known_mistake_is_not_named():
    found = [{key: value * 1.37 for key, value in one.items()} for one in predicted("tanh", "cross_entropy", {})]
    known = of_family("batch", "delta", what="cross_entropy") | of_family("layers", what="tanh")
    result = judge(found, lambda i, lines: predicted_at(i, "tanh", "cross_entropy", lines), known)
    assert not result.right
    assert not result.names
    assert not result.others
    assert result.pattern == "1.37 × ours"


def test_the_page_is_written_from_the_table():
    spec = importlib.util.spec_from_file_location("mistakes_page", ROOT / "docs/mistakes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/mistakes.md").read_text() == module.page(), "run python docs/mistakes.py"
