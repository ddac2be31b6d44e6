"""The sweep's three best configurations carried over to the other dataset, MNIST or Fashion-MNIST."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from mlp_jax.files.workdir import read_lines
from mlp_jax.questions.compare import Sample, race
from mlp_jax.questions.lab import Answer, Lab, accuracies, called, diverged
from mlp_jax.questions.sweep import config_of, ranked, swept
from mlp_jax.reports import insights, plots
from mlp_jax.reports.html import percent
from mlp_jax.runs.config import check
from mlp_jax.sweeps.dialect import parse

TITLE = "Carried over to another dataset"
QUESTION = "How good are the three configurations that were best here on a dataset where nothing was searched?"
COUNT = 3
PLACES = ("the first", "the second", "the third")


def answer(lab: Lab) -> Answer:
    """Each of the three over seeds, tested once a network; they were chosen on the first dataset's validation alone."""
    config, other = config_of(lab), lab.other_dataset()
    space = parse(config.sweep.to_dict(), config, check)
    best = dict(zip(PLACES, ranked(read_lines(swept(lab) / "trials.jsonl")), strict=False))
    fields = {place: space.overrides(trial["parameters"]) for place, (trial, _) in best.items()}
    runs = lab.train(fields, other)
    finished = {place: [member for member in members if not member.diverged] for place, members in runs.items()}
    tests = {place: [lab.test(member, other) for member in own] for place, own in finished.items() if own}
    here, there = called(lab.dataset.name), called(other.name)
    groups = {
        place: {f"{there}, test": _dot(tests[place]), f"{there}, validation": _dot(accuracies(runs[place]))}
        for place in tests
    }
    path = lab.pictures("carried_over") / "carried_over.png"
    title = f"The three best of {here}, on {there}"  # longer ones do not fit above a picture of one panel
    plots.bars(groups, path, "accuracy", title)
    table = [
        {
            "place": place,
            "configuration": trial["name"],
            f"{here} validation accuracy": insights.score(trial),
            f"{there} validation accuracy": mean(accuracies(runs[place])),
            f"{there} test accuracy": mean(tests[place]) if place in tests else None,
            "sd of accuracy": stdev(tests[place]) if len(tests.get(place, ())) > 1 else None,
        }
        for place, (trial, _) in best.items()
    ]
    sentences = [level({place: value for place, (_, value) in best.items()}, tests, here, there)]
    if len(tests) > 1:
        sentences.append(race(f"Test accuracy on {there} by place on {here}", tests))
    return Answer([*sentences, *diverged(runs)], [path], table)


def _dot(sample: Sample) -> tuple[float, float]:
    return mean(sample), stdev(sample) if len(sample) > 1 else 0.0


def level(before: Mapping[str, float], after: Mapping[str, Sequence[float]], here: str, there: str) -> str:
    """The range of the three on either dataset."""
    if not after:
        return f"None of the configurations could be trained on {there}."
    means = [mean(sample) for sample in after.values()]
    return (
        f"The {len(before)} best configurations of {here} ({percent(min(before.values()))} to "
        f"{percent(max(before.values()))} on its validation images) reach {percent(min(means))} to "
        f"{percent(max(means))} on the test images of {there} (means over the seeds)."
    )
