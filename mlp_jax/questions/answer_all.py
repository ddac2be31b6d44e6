"""A set of experiments from its config to its report: every question answered once, all of them on one page."""

import shlex
import shutil
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from mlp_jax.data.datasets import Dataset
from mlp_jax.errors import as_flags
from mlp_jax.files import workdir
from mlp_jax.questions import BUDGETS, EDITIONS, get_config, validate
from mlp_jax.questions.lab import KEPT, Lab, called, digest
from mlp_jax.reports.run import Section, write_questions_report
from mlp_jax.runs.config import checked, fingerprint
from mlp_jax.runs.config import write as write_config
from mlp_jax.runs.resume import read_card, write_card
from mlp_jax.runs.run import check_against
from mlp_jax.runs.runtime import describe
from mlp_jax.sweeps.sweep import trial_config

SECTIONS = "experiments"  # the folder of the answers, a sub-folder each
SWEEPS = "sweep-*"
MACHINE = "machine.json"  # what the answers were computed on, for a report that is written again


def run(config: ConfigDict, folder: Path, dataset: Dataset | None = None) -> Path:
    """Answers every question of `config.experiments` in the workdir `folder`, or goes on with it; the report's path.

    A question that has been answered with this config is left as it is; networks that are trained already, for this
    question or another, are not trained again. The report binds all answers that the folder holds for this config.
    `dataset` is what they are about, where it is loaded already.
    """
    config = checked(config)
    validate(config)
    lab = Lab(config, folder, dataset)
    check_against(config, lab.dataset)
    if "carried_over" in config.experiments:
        lab.other_dataset()  # that it cannot be loaded is said before anything is written
    workdir.create(folder)
    with workdir.lock(folder):
        if config.resume == "never":
            for path in (folder / KEPT, folder / SECTIONS, *folder.glob(SWEEPS)):
                shutil.rmtree(path, ignore_errors=True)
        write_config(config, folder)
        write_card(folder, lab.dataset)
        for name in (name for name in EDITIONS[config.edition].order if name in config.experiments):
            _answer(lab, name)
            write(config, folder, describe())
    return folder / "report.html"


def _answer(lab: Lab, name: str) -> None:
    path, made_of = _section(lab.folder, name), _made_of(lab.config, lab.folder)
    if workdir.read_if_there(path).get("made_of") == made_of:
        return
    question: Any = import_module(f"mlp_jax.questions.{name}")
    start = time.monotonic()
    answer = question.answer(lab)
    workdir.create(path.parent)
    section = {
        "made_of": made_of,
        "title": question.TITLE,
        "question": question.QUESTION,
        "command": command(lab.config, name),
        "sentences": answer.sentences,
        "pictures": [str(Path(picture).relative_to(lab.folder)) for picture in answer.pictures],
        "columns": list(answer.table[0]),  # JSON's objects are written with their keys sorted
        "table": answer.table,
        "links": [(text, page.relative_to(lab.folder).as_posix()) for text, page in answer.links],
        "seconds": time.monotonic() - start,
    }
    workdir.write_json(path, section)
    print(f"{name} ({section['seconds']:.0f} s): {' '.join(answer.sentences)}", flush=True)


def _made_of(config: ConfigDict, folder: Path) -> str:
    """What an answer depends on beside its question: the config, the budget, the data."""
    plain = fingerprint(trial_config(config, {}))
    return digest(plain, config.budget, read_card(folder)["fingerprint"])


def _section(folder: Path, name: str) -> Path:
    return folder / SECTIONS / name / "section.json"


def command(config: ConfigDict, name: str) -> str:
    """The command that answers this question alone: its config file, and every field that differs from it."""
    usual = get_config(config.edition)
    usual.edition = get_config().edition
    kept = {field: value for field, value in config.items() if value != usual.get(field)}
    given = {"experiments": name} | {f: kept[f] for f in kept if f not in ("experiments", "data_dir", "resume")}
    return shlex.join(["python", "main.py", "--config=configs/assignment.py", *as_flags(given)])


def write(config: ConfigDict, folder: Path, machine: Mapping[str, Any] | None = None) -> Path:
    """report.html from the answers in the folder that belong to this config, in the edition's order and numbers."""
    made_of, budget, edition = _made_of(config, folder), BUDGETS[config.budget], EDITIONS[config.edition]
    found = {name: workdir.read_if_there(_section(folder, name)) for name in edition.order}
    answers = {name: answer for name, answer in found.items() if answer.get("made_of") == made_of}
    sections = [
        Section(
            answer["title"],
            answer["question"],
            answer["command"],
            answer["sentences"],
            [folder / picture for picture in answer["pictures"]],
            [{name: row[name] for name in answer["columns"]} for row in answer["table"]],
            answer.get("links", ()),
            edition.numbers.get(name, ""),
        )
        for name, answer in answers.items()
    ]
    if machine:
        workdir.write_json(folder / MACHINE, machine)
    facts = {
        "edition": config.edition,
        "budget": config.budget,
        "seeds of a band": budget.seeds,
        "epochs of a run": budget.epochs,
        "trials of the sweep": budget.trials,
        "seconds": {name: answer["seconds"] for name, answer in answers.items()},
        "seconds in all": sum(answer["seconds"] for answer in answers.values()),
        **workdir.read_json(folder / MACHINE),
    }
    return write_questions_report(folder / "report.html", "Experiments", _lead(config, folder), sections, facts)


def _lead(config: ConfigDict, folder: Path) -> str:
    data, budget, note = read_card(folder), BUDGETS[config.budget], EDITIONS[config.edition].note
    examples = data["train_examples"]
    held_out = round(config.val_fraction * examples)
    wanted = f" ({called(config.dataset)} could not be loaded)" if config.dataset != data["dataset"] else ""
    return (
        f"Edition {config.edition}. Budget {config.budget}: {budget.seeds} seeds for every band, {budget.epochs} "
        f"epochs, {budget.trials} trials in the sweep. Where a section says nothing else, a network trains on "
        f"{examples - held_out:,} examples of {called(data['dataset'])}{wanted}; {held_out:,} are held out, and "
        "everything is chosen on them. Bands and ± are standard deviations over the seeds; a difference within two "
        "standard errors is called none. The sentences are computed from these runs." + (f" {note}" if note else "")
    )
