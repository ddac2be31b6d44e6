"""The sweep's best configuration by validation, trained on training and validation examples together, tested once."""

import math
from typing import Any, NamedTuple

from mlp_jax.files.workdir import read_if_there, read_json, read_lines
from mlp_jax.questions.compare import points
from mlp_jax.questions.lab import Answer, Lab
from mlp_jax.questions.sweep import config_of, swept
from mlp_jax.reports import insights
from mlp_jax.reports.html import percent
from mlp_jax.runs.resume import read_card
from mlp_jax.sweeps.sweep import best as train_best

TITLE = "The best model"
QUESTION = "How good is the model that was best on validation, on images that nothing was chosen by?"


class Share(NamedTuple):
    """`right` of `total` images; binomial standard error √(p(1−p)/n)."""

    value: float
    total: int

    @property
    def error(self) -> float:
        return math.sqrt(self.value * (1 - self.value) / self.total)


def final(lab: Lab) -> dict[str, Any]:
    """The summary of the final fit, in the folder `best` of the sweep."""
    folder = swept(lab)
    return train_best(config_of(lab), folder, str(folder / "best"))


def answer(lab: Lab) -> Answer:
    """The figures of the final fit beside those of the trial that it repeats on more examples."""
    summary, folder = final(lab), swept(lab)
    best, data = read_if_there(folder / "best.json"), read_card(folder / "best")
    tested = sum(map(sum, read_json(folder / "best" / "evaluation.json")["matrix"]))
    held_out = round(lab.base.val_fraction * data["train_examples"])
    validation, test = Share(best["metric"], held_out), Share(summary["test/accuracy"], tested)
    trials = len([t for t in read_lines(folder / "trials.jsonl") if insights.score(t) is not None])
    table = [{"parameter": name, "value": insights.text(value)} for name, value in best["parameters"].items()]
    table += [
        {"parameter": "epochs, chosen by validation", "value": str(summary["best_epoch"])},
        {"parameter": "validation accuracy of the trial", "value": percent(validation.value)},
        {"parameter": "test accuracy of the final fit", "value": percent(test.value)},
    ]
    lead = (
        f"The best of {trials} trials on validation, {best['name']}, was trained again on all "
        f"{data['train_examples']:,} examples for {summary['best_epoch']} epochs and tested once: "
        f"{percent(test.value)} of {tested:,} test images are right."
    )
    links = [
        ("The best run's own page", folder / "best" / "report.html"),
        ("The sweep's own page", folder / "report.html"),
    ]
    pictures = [folder / "best" / "plots" / "curves.png"]
    return Answer([lead, against_validation(validation, test)], pictures, table, links)


def against_validation(validation: Share, test: Share) -> str:
    """Whether the test figure falls short of the validation figure by which the model was chosen."""
    difference, error = test.value - validation.value, math.hypot(validation.error, test.error)
    figure = f"its {percent(validation.value)} on validation"
    allowed = f"two standard errors of sampling the images ({points(2 * error)})"
    if abs(difference) <= 2 * error:
        return f"That is no different from {figure}: {points(difference)} lie within {allowed}."
    if difference > 0:
        return f"That is {points(difference)} above {figure}, more than {allowed}."
    why = "the figure by which a model was chosen is too high an estimate, or the test images are harder"
    return f"That is {points(difference)} below {figure}, more than {allowed}: {why}."
