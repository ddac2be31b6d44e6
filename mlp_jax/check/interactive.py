"""The checks as calls from Python: of a gradient, an optimizer, a network; what they find prints as a table."""

import inspect
from collections.abc import Callable
from typing import Any

from mlp_jax.check import parts, updates
from mlp_jax.check.checks import check_network
from mlp_jax.check.findings import FAILED, UNSURE, Finding, Findings
from mlp_jax.check.found import network_findings, quiet
from mlp_jax.check.names import Unclear, function_of
from mlp_jax.check.networks import Classes, Functions, one_line


def gradients(
    fn: Callable[..., Any],
    forward: Callable[..., Any] | None = None,
    losses: dict[str, Callable[..., Any]] | None = None,
    seed: int = 0,
    **check: Any,
) -> Findings:
    """Checks `fn(params, x, y, …)`, which gives the gradients of a network.

    With `forward(params, x, …)` the conventions are found out by it, and a wrong forward pass is told from a wrong
    gradient; `losses` = {"cross_entropy": …, "mse": …} say whether a sum or a mean is meant. `check` is CHECK.
    """
    made = {name: [loss] for name, loss in (losses or {}).items()}
    with quiet(seed):
        return _guarded("gradients", lambda: _functions(Functions(forward, fn, made, check=check), seed))


def _functions(network: Functions, seed: int) -> list[Finding]:
    return check_network(network, seed) + parts.decay_findings(network, seed)


def optimizer(fn: Callable[..., Any], name: str = "", seed: int = 0) -> Findings:
    """Checks `update(w, g, state, t, …)`, a function or a class with an optimizer's name, over fifty given gradients.

    `name` says which one it is, where its own name does not.
    """
    ours = name or function_of(getattr(fn, "__name__", "")) or "update"
    with quiet(seed):
        if inspect.isclass(fn):
            return _guarded(ours, lambda: updates.class_findings(ours, fn, seed))
        return _guarded(ours, lambda: updates.function_findings(ours, fn, (), seed))


def network(thing: Any, seed: int = 0) -> Findings:
    """Checks a network with the 2026 skeleton's interface: its class, which takes the parsed flags, or one made of it.

    A network that is made is tried at its own widths, and its weights are changed.
    """
    with quiet(seed):
        if inspect.isclass(thing):
            return _guarded("network", lambda: network_findings(Classes(thing), seed))
        return _guarded("network", lambda: network_findings(Classes(None, given=thing), seed))


def _guarded(item: str, compute: Callable[[], list[Finding]]) -> Findings:
    try:
        return Findings(compute())
    except Unclear as unclear:
        return Findings([Finding(item, UNSURE, note=str(unclear))])
    except Exception as error:
        return Findings([Finding(item, FAILED, note=one_line(error))])
