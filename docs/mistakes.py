"""The page mistakes.md, written from the table of known mistakes; and its pictures, from runs with one line wrong.

python docs/mistakes.py             # the page alone
python docs/mistakes.py pictures    # and the pictures: some two minutes on a CPU, no download
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mlp_jax.check import reference  # noqa: E402
from mlp_jax.check.mistakes import EQUATIONS, FAMILIES, MISTAKES, Lines, Mistake  # noqa: E402

PAGE, IMAGES = ROOT / "docs/mistakes.md", ROOT / "docs/images"
HIDDEN, EPOCHS, BATCH, SEEDS = (32, 32), 20, 32, 3

# family -> (what is trained, the mistakes whose curves are drawn)
PICTURES: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "batch": (
        {"rate": 0.1},
        ("batch_twice", "batch_not", "last_example_only", "divided_by_all_entries", "biases_summed_over_units"),
    ),
    "delta": (
        {"loss": "mse", "rate": 0.5},
        (
            "cross_entropy_delta_under_mse",
            "jacobian_diagonal",
            "mse_without_two",
            "mse_without_classes",
            "softmax_twice",
        ),
    ),
    "layers": (
        {"activation": "sigmoid", "rate": 0.5},
        (
            "derivative_of_activation",
            "derivative_formula_at_z",
            "derivative_missing",
            "derivative_twice",
            "inputs_from_pre_activation",
            "first_layer_not_reached",
            "only_last_layer",
        ),
    ),
    "decay": (
        {"rate": 0.1, "decay": 0.01},
        ("decay_missing", "decay_doubled", "decay_over_batch", "decay_sign", "decay_of_sign"),
    ),
    "optimizer": (
        {"optimizer": "adam", "rate": 0.001},
        ("correction_missing", "t_by_epoch", "root_missing", "square_summed", "betas_swapped", "learning_rate_twice"),
    ),
    "init": (
        {"activation": "tanh", "rate": 0.05},
        ("random_unscaled", "random_positive", "weights_constant", "xavier_is_he", "xavier_deviation_as_limit"),
    ),
}
SAID = {
    "batch": "cross-entropy, ReLU, SGD at η = 0.1",
    "delta": "squared error, ReLU, SGD at η = 0.5",
    "layers": "cross-entropy, sigmoid, SGD at η = 0.5",
    "decay": "cross-entropy, ReLU, SGD at η = 0.1, λ = 0.01",
    "optimizer": "cross-entropy, ReLU, Adam at η = 0.001",
    "init": "cross-entropy, tanh, SGD at η = 0.05",
}


def page() -> str:
    """The text of mistakes.md."""
    text = [
        "# Known mistakes",
        "",
        "What goes wrong in networks that are written by hand, each as one line of our own code replaced by another.",
        "`mlp_jax.check.mistakes.MISTAKES` has them; a check names one where a submission's numbers equal this",
        "variant's (to 1e-6) and no other's, in every situation that it was tried in. Two together are tried as well.",
        "",
        "This page is written by `python docs/mistakes.py` from that table; a test holds the two together.",
        f"The pictures are runs on the 8×8 digits (hidden layers {' and '.join(map(str, HIDDEN))}, batches of {BATCH},",
        f"{EPOCHS} epochs, mean ± sd of {SEEDS} seeds) with that one line wrong, from",
        "`python docs/mistakes.py pictures`. What the notes say of training is what follows from the equation, at",
        "usual settings.",
        "",
    ]
    for family, title in FAMILIES.items():
        link = EQUATIONS[family]
        where, _, anchor = link.partition("#")
        members = {name: mistake for name, mistake in MISTAKES.items() if mistake.family == family}
        text += [f"## {title}", "", f"Right: [the equation]({where}.md{'#' + anchor if anchor else ''}).", ""]
        if family in PICTURES:
            text += [f"![Training with one line wrong: {SAID[family]}](images/mistakes_{family}.png)", ""]
            text += [f"*{SAID[family][0].upper()}{SAID[family][1:]}.*", ""]
        for name, mistake in members.items():
            text += _entry(name, mistake)
    return "\n".join(text).rstrip() + "\n"


def _entry(name: str, mistake: Mistake) -> list[str]:
    of = f" ({', '.join(mistake.of)})" if mistake.of else ""
    return [
        f"### `{name}`",
        "",
        f"{mistake.symptom[0].upper()}{mistake.symptom[1:]}{of}.",
        "",
        "```text",
        f"wrong  {mistake.code}",
        f"right  {mistake.mend}",
        "```",
        "",
        f"In training: {mistake.effect}.",
        "",
    ]


def weights(kind: str, n_in: int, n_out: int, rng: np.random.Generator) -> np.ndarray:
    """Xavier's weights, or those of a mistake."""
    limit = np.sqrt(6 / (n_in + n_out))
    return {
        "random_unscaled": lambda: rng.normal(size=(n_in, n_out)),
        "random_positive": lambda: rng.random((n_in, n_out)),
        "weights_constant": lambda: np.zeros((n_in, n_out)),
        "xavier_is_he": lambda: rng.normal(size=(n_in, n_out)) * np.sqrt(2 / n_in),
        "xavier_deviation_as_limit": lambda: rng.uniform(-1, 1, (n_in, n_out)) * np.sqrt(2 / (n_in + n_out)),
    }.get(kind, lambda: rng.uniform(-limit, limit, (n_in, n_out)))()


def train(
    mistake: str,
    seed: int,
    activation: str = "relu",
    loss: str = "cross_entropy",
    optimizer: str = "sgd",
    rate: float = 0.1,
    decay: float = 0.0,
) -> list[float]:
    """The accuracy on held-out digits after each epoch, with the lines of a mistake in place of ours."""
    from sklearn.datasets import load_digits

    lines: Lines = MISTAKES[mistake].variants[0] if mistake and MISTAKES[mistake].variants else {}
    family = MISTAKES[mistake].family if mistake else ""
    backward = reference.Backward(**(lines if family in ("batch", "delta", "layers", "decay") else {}))
    step = reference.Step(**(lines if family == "optimizer" else {}))
    x, labels = load_digits(return_X_y=True)
    x, rng = x / 16, np.random.default_rng(seed)
    order = rng.permutation(len(x))
    held, kept = order[:360], order[360:]
    sizes = (x.shape[1], *HIDDEN, 10)
    arrays = []
    for n, m in pairwise(sizes):
        arrays += [weights(mistake, n, m, rng), np.zeros(m)]
    numbers, states, accuracy, k = reference.Numbers(learning_rate=rate), [{} for _ in arrays], [], 0
    with np.errstate(all="ignore"):
        for _ in range(EPOCHS):
            for rows in np.array_split(rng.permutation(kept), len(kept) // BATCH):
                params = list(zip(arrays[::2], arrays[1::2], strict=True))
                grads = reference.gradients(
                    params, x[rows], np.eye(10)[labels[rows]], activation, loss, decay, backward
                )
                flat = [part for pair in grads for part in pair]
                arrays = [
                    w + reference.update(optimizer, g, state, k, numbers, step, (i, len(arrays)))
                    for i, (w, g, state) in enumerate(zip(arrays, flat, states, strict=True))
                ]
                k += 1
            params = list(zip(arrays[::2], arrays[1::2], strict=True))
            z, _ = reference.forward(params, x[held], activation)
            accuracy.append(float(np.mean(np.nan_to_num(z).argmax(axis=1) == labels[held])))
    return accuracy


def pictures() -> None:
    from mlp_jax.reports.plots import Panel, lines

    for family, (settings, mistakes) in PICTURES.items():
        curves = {}
        for name in ("", *mistakes):
            rows = np.array([train(name, seed, **settings) for seed in range(SEEDS)])  # type: ignore[arg-type]
            curves[name or "right"] = (list(range(1, EPOCHS + 1)), rows)
            print(
                f"{family:10}{name or 'right':32}{rows[:, -1].mean():.3f} ± {rows[:, -1].std(ddof=1):.3f}", flush=True
            )
        lines([Panel(curves, "epoch", "accuracy on held-out digits", percent=True)], IMAGES / f"mistakes_{family}.png")


if __name__ == "__main__":
    if sys.argv[1:] == ["pictures"]:
        pictures()
    PAGE.write_text(page())
