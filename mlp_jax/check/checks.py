"""The checks of a network: its logits, its loss, its gradients beside ours and beside differences of its own, decay."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.check import reference as ours
from mlp_jax.check.findings import FAILED, RIGHT, UNSURE, WRONG, Finding
from mlp_jax.check.judge import FLOAT32_TO, NAMED_TO, RIGHT_TO, Judgement, Tensors, deviation, judge
from mlp_jax.check.mistakes import EQUATIONS, MISTAKES, Lines, of_family
from mlp_jax.check.names import Unclear
from mlp_jax.check.networks import LABELS, Case, Layers, Network, case, one_line
from mlp_jax.check.objectives import CONVENTIONS, Loss, understand

Array = np.ndarray

# Widths between inputs and classes, and the batch. The last one has equal widths: some mistakes run only there.
SITUATIONS: tuple[tuple[tuple[int, ...], int], ...] = (
    ((5, 3), 7),
    ((), 5),
    ((3,), 1),
    ((7, 5, 3), 33),
    ((5, 7, 4, 3), 2),
    ((0, 0, 0), 4),  # 0: as many as classes
)
STEP = 1e-5  # of a central difference
DIFFERENCES_TO = 2e-6  # relative to the largest derivative; a loss may add 1e-9 inside its logarithm


def equation(mistakes: Sequence[str], item: str) -> str:
    """The heading of the documentation that has the right equation."""
    if mistakes:
        return EQUATIONS[MISTAKES[mistakes[0]].family]
    return EQUATIONS[item]


def _cases(network: Network, seed: int) -> list[Case]:
    found = []
    for widths, batch in SITUATIONS:
        hidden = [width or network.classes for width in widths]
        inputs = network.inputs or (network.classes if 0 in widths else 6)
        if getattr(network, "_make", True) is None:  # a network that is already made: its own widths
            hidden, inputs = network.sizes[1:-1], network.sizes[0]  # type: ignore[attr-defined]
        found.append(case((inputs, *hidden, network.classes), batch, seed))
    return found


def named(mistakes: Sequence[tuple[str, ...]]) -> str:
    """Several sets of mistakes that give the same numbers, in words."""
    shown = [" and ".join(names) for names in mistakes[:3]]
    return f"not to be told apart here: {' or '.join(shown)}" + (" …" if len(mistakes) > 3 else "")


def finding(item: str, judged: Judgement, family: str, note: str = "", tolerance: float = RIGHT_TO) -> Finding:
    """A judgement as a finding."""
    if judged.right:
        if judged.error > RIGHT_TO:
            note = "; ".join(part for part in (note, "computed in float32") if part)
        return Finding(item, RIGHT, error=judged.error, note=note, equation=equation((), family))
    said = [note] if note else []
    if judged.others:
        said.append(named(judged.others))
    elif not judged.names:
        said.append(f"wrong, no known mistake: {judged.pattern}" if judged.pattern else "wrong, no known mistake")
    return Finding(
        item,
        WRONG,
        where=judged.where,
        error=judged.error,
        found=judged.pattern if judged.names and len(judged.pattern) < 60 else "",
        mistakes=judged.names,
        note="; ".join(said),
        equation=equation(judged.names, family),
    )


class Run(NamedTuple):
    """What a check gave over the situations: `raised` where it did, by index."""

    found: list[Any]
    raised: dict[int, BaseException]


def over(cases: Sequence[Case], compute: Callable[[Case], Any]) -> Run:
    """Calls a submission in every situation; what it raises is kept."""
    found: list[Any] = []
    raised: dict[int, BaseException] = {}
    for index, one in enumerate(cases):
        try:
            with np.errstate(all="ignore"):
                found.append(compute(one))
        except Unclear:
            raise
        except (Exception, SystemExit) as error:
            found.append(None)
            raised[index] = error
    return Run(found, raised)


def _excused(run: Run, cases: Sequence[Case]) -> tuple[list[int], str]:
    """The situations to judge, and what is said of those without a hidden layer that a network does not take."""
    shallow = [i for i, one in enumerate(cases) if len(one.params) == 1 and i in run.raised]
    kept = [i for i in range(len(cases)) if i not in shallow]
    return kept, "not without a hidden layer" if shallow and len(run.raised) < len(cases) else ""


# ---------------------------------------------------------------------------------------------------- forward and loss


def check_forward(network: Network, cases: Sequence[Case]) -> tuple[list[Finding], dict[str, Judgement]]:
    """Logits of every activation beside ours."""
    results: list[tuple[str, Finding]] = []
    judged: dict[str, Judgement] = {}
    loss = (network.losses or ("cross_entropy",))[0]
    for activation in network.activations:
        run = over(cases, lambda one, a=activation: {"logits": network.logits(a, loss, one.params, one.x)})  # type: ignore[misc]
        if len(run.raised) == len(cases):
            results.append((activation, _failed("forward", run, "forward")))
            continue
        kept, note = _excused(run, cases)
        broken = [i for i in kept if i in run.raised]
        if broken:
            failed = _failed("forward", run, "forward")
            results.append((activation, failed._replace(where=_widths(cases[broken[0]]))))
            continue
        known = of_family("forward", what=activation)
        if network.gives == "probabilities":
            del known["softmax_in_forward"]

        def predict(index: int, lines: Lines, a: str = activation, kept: list[int] = kept) -> Tensors:
            one = cases[kept[index]]
            z, _ = ours.forward(one.params, one.x, a, ours.Forward(**lines))
            return {"logits": ours.softmax(z) if network.gives == "probabilities" else z}

        result = judge([run.found[i] for i in kept], predict, known, tolerance=_tolerance(network))
        judged[activation] = result
        results.append((activation, finding("forward", result, "forward", note)))
    said = ", ".join(f"{key} {value}" for key, value in network.said.items())
    findings = _merged(results)
    if findings and said:
        findings[0] = findings[0]._replace(note="; ".join(part for part in (findings[0].note, said) if part))
    return findings, judged


def _tolerance(network: Network) -> float:
    return FLOAT32_TO if network.said.get("numbers") == "float32" else RIGHT_TO


def _widths(one: Case) -> str:
    return f"widths {'-'.join(str(len(w)) for w, _ in one.params)}-{len(one.params[-1][1])}, batch of {len(one.x)}"


def _failed(item: str, run: Run, family: str) -> Finding:
    return Finding(item, FAILED, note=one_line(next(iter(run.raised.values()))), equation=EQUATIONS[family])


def _merged(results: Sequence[tuple[str, Finding]]) -> list[Finding]:
    """Findings of several activations that say the same, as one; each says which activations it is of."""
    groups: dict[Any, list[tuple[str, Finding]]] = {}
    for activation, one in results:
        key = one.item, one.verdict, one.mistakes, one.note if one.verdict != WRONG or not one.mistakes else ""
        groups.setdefault(key, []).append((activation, one))
    merged = []
    for members in groups.values():
        one = max((member for _, member in members), key=lambda member: member.error or 0)
        of = ", ".join(activation for activation, _ in members)
        item = one.item if len(groups) == 1 and len(members) > 1 else f"{one.item} ({of})"
        merged.append(one._replace(item=item))
    return merged


def check_loss(network: Network, loss: str, takes: str) -> tuple[list[Finding], Loss | None]:
    """The value of a loss, if it has one."""
    functions = network.loss_functions(loss)
    if not functions:
        return [], None
    read = understand(loss, functions, network.classes, takes, "a column" in network.said.get("batches", ""))
    return ([loss_finding(loss, read)], read) if read else ([], None)


def loss_finding(loss: str, read: Loss) -> Finding:
    """A reading of a loss as a finding."""
    words = f"takes {read.takes} and {read.labels} labels"
    where = EQUATIONS["loss"] if loss == "cross_entropy" else "backpropagation#squared-error"
    if read.mistake:
        note = f"{words}; {read.convention}" if read.convention else words
        return Finding(loss, WRONG, error=read.error, mistakes=(read.mistake,), note=note, equation=where)
    if read.convention:
        return Finding(loss, RIGHT, error=read.error, note=f"{read.convention}; {words}", equation=where)
    note = f"wrong, no known mistake; {words}"
    return Finding(loss, WRONG, error=read.error, note=note, equation=where)


# ---------------------------------------------------------------------------------------------------------- gradients


def tensors(layers: Layers) -> Tensors:
    """Gradients by the names of the report."""
    named = {f"layer {i}, W": w for i, (w, _) in enumerate(layers, 1)}
    return named | {f"layer {i}, b": b for i, (_, b) in enumerate(layers, 1)}


def differences(
    value: Callable[[Layers], float], params: Layers, entries: int, seed: int
) -> list[tuple[str, int, float]]:
    """Central differences of `value` by some entries of every array: (array, index, derivative)."""
    rng, found = np.random.default_rng(seed), []
    for layer, pair in enumerate(params):
        for part, array in enumerate(pair):
            for index in rng.permutation(array.size)[:entries]:
                sides = []
                for sign in (1, -1):
                    moved = [(w.copy(), b.copy()) for w, b in params]
                    moved[layer][part].reshape(-1)[index] += sign * STEP
                    sides.append(value(moved))
                name = f"layer {layer + 1}, {'Wb'[part]}"
                found.append((name, int(index), (sides[0] - sides[1]) / (2 * STEP)))
    return found


def _beside_differences(found: Tensors, quotients: Sequence[tuple[str, int, float]]) -> tuple[float, str]:
    """The largest relative error, and the arrays that are off."""
    scale = max((abs(q) for *_, q in quotients), default=0.0) or 1.0
    errors: dict[str, float] = {}
    for name, index, quotient in quotients:
        error = abs(float(np.asarray(found[name]).reshape(-1)[index]) - quotient) / scale
        errors[name] = max(errors.get(name, 0.0), error if np.isfinite(error) else np.inf)
    off = [name for name, error in errors.items() if error > DIFFERENCES_TO]
    return max(errors.values(), default=0.0), ", ".join(off)


def check_gradients(
    network: Network, loss: str, cases: Sequence[Case], forward: dict[str, Judgement] | None, read: Loss | None
) -> list[tuple[str, Finding]]:
    """The gradient under a loss, for every activation."""
    results: list[tuple[str, Finding, Judgement | None]] = []
    hints: list[tuple[str, ...]] = getattr(network, "hints", [])
    for a in network.activations:
        one, judged = _gradient(network, a, loss, cases, (forward or {}).get(a), read, hints)
        if judged and judged.names and judged.names not in hints:
            hints.append(judged.names)
        results.append((a, one, judged))
    network.hints = hints  # type: ignore[attr-defined]
    if getattr(network, "unsaid", False):
        results = [min(results, key=lambda result: _rank(result[1]))]
    # What is not to be told apart under one activation may be told by another one of the same submission.
    certain = {judged.names for _, _, judged in results if judged and judged.names}
    told = []
    for activation, one, judged in results:
        if judged and judged.others:
            both = [names for names in judged.others if names in certain]
            if len(both) == 1:
                one = one._replace(mistakes=both[0], note=one.note.replace(named(judged.others), "").strip("; "))
                one = one._replace(equation=equation(both[0], "layers"))
        told.append((activation, one))
    return told


def _gradient(
    network: Network,
    activation: str,
    loss: str,
    cases: Sequence[Case],
    forward: Judgement | None,
    read: Loss | None,
    hints: Sequence[tuple[str, ...]],
) -> tuple[Finding, Judgement | None]:
    item = f"gradients of {loss}"
    best: tuple[Finding, Judgement | None] | None = None
    before: Run | None = None
    for labels in LABELS if not network.check.get("labels") else (network.check["labels"],):  # type: ignore[attr-defined]
        run = over(
            cases,
            lambda one, n=labels: _tensors_of(network, activation, loss, one, n),  # type: ignore[misc]
        )
        if before and all(deviation(a, b) < NAMED_TO for a, b in zip(before.found, run.found, strict=True)):
            break  # it takes both, alike
        before = run
        kept, note = _excused(run, cases)
        if len(run.raised) == len(cases):
            result: tuple[Finding, Judgement | None] = _failed(item, run, "layers"), None
        else:
            result = _judged(network, activation, loss, cases, kept, run, forward, read, note, hints)
        if result[0].verdict != RIGHT and getattr(network, "order_open", False):  # read it in the other order, too
            network.read_order(True)  # type: ignore[attr-defined]
            turned = over(cases, lambda one, n=labels: _tensors_of(network, activation, loss, one, n))  # type: ignore[misc]
            other = _judged(network, activation, loss, cases, kept, turned, forward, read, note, hints)
            if _rank(other[0]) < _rank(result[0]):
                result = other
            network.read_order(False)  # type: ignore[attr-defined]
        if best is None or _rank(result[0]) < _rank(best[0]):
            best = result
            network.said["labels"] = labels
        if result[0].verdict == RIGHT:
            break
    assert best
    return best


def _tensors_of(network: Network, activation: str, loss: str, one: Case, labels: str) -> Tensors:
    return tensors(network.gradients(activation, loss, one.params, one.x, one.y, labels))


def _rank(one: Finding) -> tuple[int, bool]:
    return (RIGHT, UNSURE, WRONG, FAILED).index(one.verdict), not one.mistakes


def _judged(
    network: Network,
    activation: str,
    loss: str,
    cases: Sequence[Case],
    kept: Sequence[int],
    run: Run,
    forward: Judgement | None,
    read: Loss | None,
    note: str,
    hints: Sequence[tuple[str, ...]],
) -> tuple[Finding, Judgement | None]:
    item, found = f"gradients of {loss}", [run.found[i] for i in kept]
    wide = [i for i in kept if i in run.raised]
    right_forward = forward is None or forward.right or forward.names == ("softmax_in_forward",)
    factor = read.factor if read and read.convention else (lambda b, k: 1.0)
    base = read.base if read and read.convention else {}

    def predict(index: int, lines: Lines) -> Tensors:
        one = cases[kept[index]]
        rules = ours.Backward(**lines)
        layers = ours.gradients(one.params, one.x, one.y, activation, loss, 0.0, rules)
        return {key: value * rules.scale(factor(*one.y.shape)) for key, value in tensors(layers).items()}

    if right_forward:
        known = of_family("batch", "delta", what=loss) | of_family("layers", what=activation)
        if base:  # already of the logits
            del known["mse_delta_of_logits"]
        result = judge(found, predict, known, base, tolerance=_tolerance(network), hints=hints)
        if result.right:
            if not wide:
                return finding(item, result, "layers", _join(note, read.convention if read else "")), result
        elif read and read.convention and (read.factor(2, 3) != 1 or base):
            # Not the derivative of their own loss; ours all the same?
            plain = judge(found, lambda i, lines: _plain(cases[kept[i]], activation, loss, lines), {}, {})
            if plain.right:
                said = (
                    f"the gradient of our loss, not of yours, which is the {read.convention}; "
                    "CHECK = {'mean': True} says that the gradient is meant so"
                )
                if network.check.get("mean"):  # type: ignore[attr-defined]
                    return finding(item, plain, "layers", note), plain
                one = Finding(item, UNSURE, error=result.error, mistakes=result.names, note=_join(note, said))
                return one._replace(equation=EQUATIONS["batch"]), result
        if not (read and read.convention) and not result.right:
            asked = _scaled(loss, found, [cases[i] for i in kept], activation, network)
            if asked:
                return Finding(item, UNSURE, error=result.error, note=asked, equation=EQUATIONS["batch"]), result
        if result.names or (result.others and not read):
            return finding(item, result, "layers", note), result
    else:
        result = None
    # Differences of their own forward pass and loss: is it a wrong backward pass, or the right one of something else?
    own = _own_differences(network, activation, loss, cases, run, read)
    if own and own[0] <= DIFFERENCES_TO and not wide:
        of = "forward pass" if not right_forward else "loss"
        said = f"the gradient of your own {of}, by central differences; that {of} is wrong"
        return Finding(item, RIGHT, error=own[0], note=_join(note, said), equation=EQUATIONS["layers"]), None
    if result is not None and not result.right:
        return finding(item, result, "layers", _join(note, _raises(wide, cases, run))), result
    if wide:
        said = _raises(wide, cases, run)
        return Finding(item, FAILED, where=_widths(cases[wide[0]]), note=said, equation=EQUATIONS["layers"]), None
    if own:
        said = "not the gradient of your own forward pass, by central differences; mend that one first"
        return Finding(item, WRONG, where=own[1], error=own[0], note=said, equation=EQUATIONS["layers"]), None
    said = "the forward pass is wrong, and its differences cannot be taken"
    return Finding(item, UNSURE, note=said, equation=EQUATIONS["layers"]), None


def _plain(one: Case, activation: str, loss: str, lines: Lines) -> Tensors:
    return tensors(ours.gradients(one.params, one.x, one.y, activation, loss, 0.0, ours.Backward(**lines)))


def _raises(wide: Sequence[int], cases: Sequence[Case], run: Run) -> str:
    return f"raises at {_widths(cases[wide[0]])}: {one_line(run.raised[wide[0]])}" if wide else ""


def _join(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _scaled(
    loss: str, found: Sequence[Tensors | None], cases: Sequence[Case], activation: str, network: Network
) -> str:
    """What to ask where a gradient without a loss of its own is ours times a factor that a convention has."""
    asked = network.check.get("mean")  # type: ignore[attr-defined]
    for said, factor in CONVENTIONS[loss].items():
        result = judge(
            found,
            lambda i, lines, f=factor: {  # type: ignore[misc]
                key: value * f(*cases[i].y.shape) for key, value in _plain(cases[i], activation, loss, lines).items()
            },
            {},
        )
        if result.right and asked is None:
            return (
                f"right for the {said}; without a loss of yours it cannot be told whether that is meant: "
                "add the loss, or say CHECK = {'mean': True} if a mean over the batch is"
            )
    return ""


def _own_differences(
    network: Network, activation: str, loss: str, cases: Sequence[Case], run: Run, read: Loss | None
) -> tuple[float, str] | None:
    """Their gradient beside central differences of their own forward pass and loss (ours, where they have none)."""
    index = next((i for i, one in enumerate(cases) if run.found[i] is not None and len(one.params) > 1), None)
    if index is None:
        index = next((i for i in range(len(cases)) if run.found[i] is not None), None)
    if index is None or getattr(network, "forward", True) is None:
        return None
    one = cases[index]

    def value(params: Layers) -> float:
        out = network.logits(activation, loss, params, one.x)
        z = np.log(np.maximum(out, 1e-300)) if network.gives == "probabilities" else out
        return read.value(z, one.y) if read else float(np.mean(ours.LOSSES[loss](z, one.y)))

    try:
        with np.errstate(all="ignore"):
            return _beside_differences(run.found[index], differences(value, one.params, 6, 0))
    except Exception:
        return None


# ------------------------------------------------------------------------------------------------------------- network


def check_network(network: Network, seed: int = 0) -> list[Finding]:
    """Forward pass, losses and gradients of a network."""
    cases = _cases(network, seed)
    found: list[Finding] = []
    forward: dict[str, Judgement] | None = None
    if getattr(network, "forward", True) is not None:
        found, forward = check_forward(network, cases)
        if not forward:  # it runs nowhere
            return found
        if all(one.names == ("softmax_in_forward",) for one in forward.values()):
            network.gives = "probabilities"
    takes = ""
    reads: dict[str, Loss | None] = {}
    for loss in ("cross_entropy", "mse"):
        if network.losses and loss not in network.losses:
            continue
        said, reads[loss] = check_loss(network, loss, takes)
        read = reads[loss]
        takes = takes or (read.takes if read and read.convention else "")
        found += said
    if getattr(network, "backward", True) is None:
        return found
    if network.losses:
        for loss in network.losses:
            results, read = _either_reading(network, loss, cases, forward, reads.get(loss))
            if read and read is not reads.get(loss):
                found = [_reread(loss, read, takes) if one.item == loss else one for one in found]
            found += _merged(results)
    else:
        found += _merged(_either_loss(network, cases, forward, reads))
    returned = getattr(network, "returned", None)
    if returned is not None:
        item = "what backward returns"
        note = "" if returned else "two lists, index 0 the last layer"
        wrong = (returned,) if returned else ()
        found.append(
            Finding(item, WRONG if returned else RIGHT, mistakes=wrong, note=note, equation=EQUATIONS["interface"])
        )
        if getattr(network, "on_layers", None):
            note = "the layers have no grad_W and grad_b of their weights' shapes"
            found.append(
                Finding("grad_W, grad_b of the layers", WRONG, mistakes=("gradients_not_on_layers",), note=note)
            )
    elif getattr(network, "transposed", False):
        found.append(
            Finding("what gradients returns", WRONG, mistakes=("gradient_transposed",), equation=EQUATIONS["interface"])
        )
    return found


def _either_reading(
    network: Network, loss: str, cases: Sequence[Case], forward: dict[str, Judgement] | None, read: Loss | None
) -> tuple[list[tuple[str, Finding]], Loss | None]:
    """The gradients, and the reading of the loss that they fit: a squared difference is one of whatever it is given."""
    results = check_gradients(network, loss, cases, forward, read)
    if read is None or read.other is None or all(one.verdict == RIGHT for _, one in results):
        return results, read
    others = check_gradients(network, loss, cases, forward, read.other)
    # Of the logits on the way back: then it is given the logits, too.
    logits = any("mse_delta_of_logits" in one.mistakes for _, one in results)
    if logits or [_rank(one) for _, one in others] < [_rank(one) for _, one in results]:
        return others, read.other
    return results, read


def _reread(loss: str, read: Loss, takes: str) -> Finding:
    """The finding of a loss whose reading the gradients have changed; `takes` is what the cross-entropy is given."""
    one = loss_finding(loss, read)
    if one.verdict == RIGHT and loss == "mse" and takes == "logits":
        note = (
            "right where it is given probabilities; given logits, as your cross-entropy is, it is their squared error"
        )
        return one._replace(verdict=UNSURE, mistakes=("mse_of_logits",), note=_join(one.note, note))
    return one


def _either_loss(
    network: Network, cases: Sequence[Case], forward: dict[str, Judgement] | None, reads: dict[str, Loss | None]
) -> list[tuple[str, Finding]]:
    """The gradients of a function that has one loss, which is not said: the one that fits better."""
    with_value = [loss for loss, read in reads.items() if read]
    losses: Iterable[str] = with_value if len(with_value) == 1 else ("cross_entropy", "mse")
    tried = [check_gradients(network, loss, cases, forward, reads.get(loss)) for loss in losses]
    return min(tried, key=lambda results: [_rank(one) for _, one in results])
