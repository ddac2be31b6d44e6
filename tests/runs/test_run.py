"""A run from its config to its files: the same bits again, after a break, and whatever the test labels say."""

import json
import os
import re
import shutil
import signal
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from mlp_jax.data.datasets import load, load_test
from mlp_jax.errors import Diverged, Interrupted, UserError
from mlp_jax.files import progress, workdir
from mlp_jax.hparams import split_config
from mlp_jax.lanes.evaluation import predict_probabilities
from mlp_jax.runs import resume, saved, seeds
from mlp_jax.runs import run as runs
from mlp_jax.runs.run import run
from mlp_jax.training import Lane
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.runs import Killed, at_each_record, checkpoints, flip_a_bit
from tests.shared.training import leaves, same_bits, small_config

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "patterns"
    write_idx_folder(folder)
    return folder


def config_for(data: Path, **fields: object):
    return small_config(**{"dataset": str(data), "hidden_sizes": (8,), "batch_size": 20, "num_epochs": 3, **fields})


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run(config_for(data, checkpoint_seconds=0.0), folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def results(folder: Path) -> tuple[list[dict], dict]:
    """metrics.jsonl and summary.json without times and the commit."""

    def timeless(pairs: list) -> dict:
        return {name: value for name, value in pairs if not re.match("(compile_)?seconds|commit", name)}

    records, summary = (folder / name for name in ("metrics.jsonl", "summary.json"))
    return (
        [json.loads(line, object_pairs_hook=timeless) for line in records.read_text().splitlines()],
        json.loads(summary.read_text(), object_pairs_hook=timeless),
    )


def test_a_run_leaves_the_files_that_users_are_promised(finished):
    for name in ("config.json", "report.html", "plots/samples.png", "plots/curves.png", "plots/confusion_matrix.png"):
        assert (finished / name).is_file()
    assert list(checkpoints(finished)) == [18, 27]
    records = workdir.read_lines(finished / "metrics.jsonl")
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert [record["step"] for record in records] == [9, 18, 27]  # 180 examples in batches of 20
    names = {"epoch", "step", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "seconds"}
    assert all(set(record) == names for record in records)
    summary = json.loads((finished / "summary.json").read_text())
    promised = {"dataset", "best_epoch", "val/accuracy", "test/loss", "test/accuracy", "seconds", "compile_seconds"}
    assert promised | {"device", "device_count", "threads", "versions", "commit"} <= set(summary)
    accuracies = [record["val/accuracy"] for record in records]
    assert summary["best_epoch"] == accuracies.index(max(accuracies)) + 1
    assert summary["val/accuracy"] == max(accuracies)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(finished, data, tmp_path):
    run(config_for(data), tmp_path / "again")
    run(config_for(data, seed=1), tmp_path / "other")
    assert results(tmp_path / "again") == results(finished)
    assert results(tmp_path / "other")[0] != results(finished)[0]


def test_a_finished_run_does_nothing_again(finished, data, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    monkeypatch.setattr(runs, "load", lambda *_: pytest.fail("a finished run reads nothing"))
    run(config_for(data), finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert "is finished" in capsys.readouterr().out


@pytest.mark.parametrize(("field", "value"), [("learning_rat", 0.1), ("optimizer", "adamw"), ("learning_rate", -1.0)])
@pytest.mark.parametrize("entry", ["runs.run", "sweeps.sweep", "questions.answer_all"])
def test_a_config_changed_in_python_is_refused_before_a_folder_is_made(entry, field, value, data, tmp_path):
    config = config_for(data)
    if entry == "sweeps.sweep":
        config.sweep = {"method": "grid", "parameters": {"learning_rate": {"values": [0.1, 0.2]}}}
    if entry == "questions.answer_all":
        config.update({"experiments": ("losses",), "budget": "quick", "num_epochs": 10})
    config[field] = value
    with pytest.raises(UserError, match=field):
        import_module(f"mlp_jax.{entry}").run(config, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_last_line_names_the_report_and_a_run_at_chance_gets_a_hint(data, tmp_path, capsys):
    run(config_for(data, num_epochs=1, init="zeros"), tmp_path / "run")
    said = capsys.readouterr()
    assert said.out.splitlines()[-1].endswith(f"see {tmp_path / 'run' / 'report.html'}")
    (hint,) = [line for line in said.err.splitlines() if "guessing" in line]
    assert "init=zeros" in hint
    run(config_for(data), tmp_path / "other")
    assert "guessing" not in capsys.readouterr().err


def test_a_resume_on_data_that_have_changed_leaves_every_file_as_it_was(tmp_path):
    write_idx_folder(tmp_path / "data")
    run(config_for(tmp_path / "data", num_epochs=1), tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    arrays = make_arrays()
    arrays["train-images"] = 255 - arrays["train-images"]
    write_idx_folder(tmp_path / "data", arrays)
    with pytest.raises(UserError, match="trained on other data"):
        run(config_for(tmp_path / "data", num_epochs=2), tmp_path / "run")
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_several_seeds_say_how_far_they_are_and_at_last_mean_and_sd(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    summary = run(config_for(data, num_epochs=1, seeds=2), tmp_path / "run")
    tests = [seed["test/accuracy"] for seed in summary["seeds"]]
    said = capsys.readouterr()
    assert re.match(r"0/2 seeds: epoch 1 · train \d\.\d+ \d+\.\d+%", said.err)
    assert "2/2 seeds: val " in said.err
    line = said.out.splitlines()[-1]
    assert f"test {np.mean(tests):.2%} ± {np.std(tests, ddof=1):.2%}" in line
    assert "2 seeds" in line


@pytest.mark.parametrize("many", [1, 2])
def test_the_commit_is_the_one_that_was_there_when_training_began(data, tmp_path, monkeypatch, many):
    monkeypatch.setattr(runs.runtime, "_commit", lambda: "first")
    at_each_record(monkeypatch, lambda epoch: monkeypatch.setattr(runs.runtime, "_commit", lambda: "second"))
    assert run(config_for(data, num_epochs=1, seeds=many), tmp_path / "run")["commit"] == "first"
    assert runs.runtime._commit() == "second"


def test_the_share_of_epochs_left_falls_to_nothing_whatever_ends_a_seed(data, tmp_path, monkeypatch):
    shown, keep = [], seeds.keep

    @contextmanager
    def progress(total, unit):
        lefts = []
        shown.append(lefts)
        yield lambda done, text, left: lefts.append(left)

    def dying(folder, member, dataset):
        keep(folder, member, dataset)
        raise Killed

    monkeypatch.setattr(seeds, "progress", progress)
    config = config_for(data, seeds=3, num_epochs=9, early_stopping=1, optimizer="sgd", learning_rate=0.3)
    monkeypatch.setattr(seeds, "keep", dying)
    with pytest.raises(Killed):
        run(config, tmp_path / "run")
    monkeypatch.setattr(seeds, "keep", keep)
    run(config, tmp_path / "run")
    _, lefts = shown
    assert lefts[0] == pytest.approx((2 * 9 - 1) / (3 * 9))
    assert lefts == sorted(lefts, reverse=True)
    assert lefts[-1] == 0
    assert len(lefts) < 2 * 9  # stopped early


@pytest.fixture(scope="module")
def plain_and_permuted(tmp_path_factory):
    """Two runs with pictures that differ in the test labels alone."""
    permuted = make_arrays()
    permuted["t10k-labels"] = np.random.default_rng(5).permutation(permuted["t10k-labels"])
    patterns, folders = tmp_path_factory.mktemp("labels") / "patterns", []
    for arrays in (make_arrays(), permuted):
        write_idx_folder(patterns, arrays)
        folders.append(tmp_path_factory.mktemp("of_labels") / "run")
        run(config_for(patterns, num_epochs=6, learning_rate=0.01), folders[-1])
    return folders


def test_the_test_set_is_out_of_reach(plain_and_permuted):
    """With the test labels permuted every file but the test figures and pictures is the same, byte for byte."""
    plain, permuted = plain_and_permuted
    names = {str(path.relative_to(plain)) for path in plain.rglob("*") if path.is_file()}
    assert names == {str(path.relative_to(permuted)) for path in permuted.rglob("*") if path.is_file()}
    tested = {"summary.json", "evaluation.json", "report.html"}
    tested |= {f"plots/{name}.png" for name in ("confusion_matrix", "mistakes", "mistakes_by_cell")}
    timed = {"metrics.jsonl"} | {name for name in names if name.startswith("checkpoints")}  # they hold seconds
    for name in names - tested - timed:
        assert (plain / name).read_bytes() == (permuted / name).read_bytes(), name
    assert same_bits(lane_in(plain, num_epochs=6), lane_in(permuted, num_epochs=6))
    (records, one), (others, other) = results(plain), results(permuted)
    assert records == others
    assert one.pop("test/accuracy") != other.pop("test/accuracy")
    assert one.pop("test/loss") != other.pop("test/loss")
    assert one == other


def lane_in(folder: Path, **fields: object) -> Lane:
    """What the newest checkpoint of a run holds."""
    halves = split_config(config_for(folder, **fields), 36, 4, 180)
    kept = resume.restore(folder, halves, 0, {})
    assert kept is not None
    return kept.lane


def test_the_test_set_is_read_once_after_the_last_epoch(data, tmp_path, monkeypatch):
    epochs = []

    def spied(dataset):
        epochs.append((tmp_path / "run/metrics.jsonl").read_text().count("\n"))
        return load_test(dataset)

    monkeypatch.setattr(runs, "load_test", spied)
    run(config_for(data), tmp_path / "run")
    assert epochs == [3]


@pytest.mark.parametrize(
    ("steps_per_call", "operations"), [(0, ("replace", "rename")), pytest.param(4, ("fsync",), marks=pytest.mark.slow)]
)
def test_a_run_that_dies_anywhere_ends_with_the_same_bits(
    steps_per_call, operations, finished, data, tmp_path, monkeypatch
):
    """The first start dies before the first file takes its place, or is on the disk, the second before its second …"""
    left = 0

    def dying(original, *arguments, **options):
        nonlocal left
        left -= 1
        if not left:
            raise Killed
        return original(*arguments, **options)

    for name in operations:
        monkeypatch.setattr(os, name, partial(dying, getattr(os, name)))
    for left in count(1):  # noqa: B007
        try:
            run(config_for(data, steps_per_call=steps_per_call, checkpoint_seconds=0.0), tmp_path / "run")
            break
        except Killed:
            continue
    assert results(tmp_path / "run") == results(finished)


def test_a_signal_saves_and_says_how_to_go_on(finished, data, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_each_record(patch, lambda epoch: epoch == 2 and os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted, match=f"SIGTERM.*--workdir={folder}"):
            run(config_for(data), folder)
    assert list(checkpoints(folder)) == [18]
    run(config_for(data), folder)
    assert results(folder) == results(finished)


def test_a_signal_ends_a_run_of_several_seeds_between_two_of_them(data, tmp_path, monkeypatch):
    keep, folder = seeds.keep, tmp_path / "run"

    def signalled(*arguments):
        keep(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(seeds, "keep", signalled)
    with pytest.raises(Interrupted, match=f"SIGINT.*--workdir={folder}"):
        run(config_for(data, seeds=3), folder)
    assert len(list((folder / "seeds").iterdir())) == 1


@pytest.mark.parametrize("damage", ["summary.json", "metrics.jsonl", "evaluation.json", "not JSON", "a flipped bit"])
def test_a_finished_run_mends_what_was_lost_or_damaged_since(damage, finished, copied, data, capsys):
    if damage == "not JSON":
        (copied / "summary.json").write_text("{")
    elif damage == "a flipped bit":
        flip_a_bit(copied)
    else:
        (copied / damage).unlink()
    run(config_for(data), copied)
    assert ("damaged" in capsys.readouterr().err) == (damage in ("not JSON", "a flipped bit"))
    assert results(copied) == results(finished)
    assert (copied / "evaluation.json").read_bytes() == (finished / "evaluation.json").read_bytes()
    assert same_bits(lane_in(copied), lane_in(finished))


def test_figures_that_no_run_writes_are_refused(copied, data):
    config, lane = config_for(data), lane_in(copied)
    (copied / "summary.json").write_text("{}")
    with pytest.raises(UserError, match=r"summary\.json: not as a run wrote it"):
        run(config, copied)
    resume.keep(copied, lane, [{"epoch": 2}], config, load(str(data), "", ""))
    with pytest.raises(UserError, match="its figures are not as a run writes them"):
        lane_in(copied)


def test_a_resume_on_other_cores_says_that_bits_may_differ(copied, data, monkeypatch, capsys):
    run(config_for(data, num_epochs=4), copied)
    assert capsys.readouterr().err == f"{copied}: goes on after epoch 3\n"
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(77)))
    run(config_for(data, num_epochs=5), copied)
    assert "goes on with 77 usable cores" in capsys.readouterr().err


def test_more_epochs_go_on_from_the_end(finished, data, tmp_path):
    run(config_for(data, num_epochs=1), tmp_path / "grown")
    run(config_for(data), tmp_path / "grown")
    assert results(tmp_path / "grown") == results(finished)


def test_resume_never_starts_over(copied, data):
    run(config_for(data, num_epochs=1, resume="never", seed=3), copied)
    assert [record["epoch"] for record in results(copied)[0]] == [1]
    assert json.loads((copied / "config.json").read_text())["seed"] == 3


def test_a_second_process_on_a_workdir_is_told_so(data, tmp_path):
    workdir.create(tmp_path / "run")
    with workdir.lock(tmp_path / "run"), pytest.raises(UserError, match="in use"):
        run(config_for(data), tmp_path / "run")


@pytest.mark.parametrize("field", [{"dataset": "/nothing"}, {"val_fraction": 1e-6}, {"mesh": "data:99"}])
def test_what_only_data_and_devices_can_tell_leaves_no_workdir(field, data, tmp_path):
    with pytest.raises(UserError, match=next(iter(field))):
        run(config_for(data, **field), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("steps_per_call", "checkpoint_seconds"), [(0, 60.0), (1, 0.0)])
def test_divergence_names_the_step_the_layer_and_the_cause(steps_per_call, checkpoint_seconds, data, tmp_path):
    fields = {"optimizer": "sgd", "learning_rate": 1e6, "activation": "identity", "num_epochs": 20}
    config = config_for(data, steps_per_call=steps_per_call, checkpoint_seconds=checkpoint_seconds, **fields)
    with pytest.raises(Diverged, match=r"step \d+: the .* of layer \d is not finite; .*learning_rate 1e\+06"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run/summary.json").exists()
    assert bool(checkpoints(tmp_path / "run")) == (checkpoint_seconds == 0)
    if checkpoints(tmp_path / "run"):
        assert all(np.isfinite(leaf).all() for leaf in leaves(lane_in(tmp_path / "run", **fields).state.params))


def test_a_last_step_whose_gradient_overflows_is_divergence_too(data, tmp_path):
    """Its loss is finite, and no later loss tells of the parameters that it left."""
    config = config_for(data, optimizer="sgd", learning_rate=3e38, batch_size=0, num_epochs=1, val_fraction=0.0)
    config.update({"init": "random", "init_scale": 30.0})
    with pytest.raises(Diverged, match=r"step 1: the parameters of layer \d is not finite; .*learning_rate 3e\+38"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run/summary.json").exists()


def test_several_seeds_are_the_runs_of_each_seed_and_their_mean(data, tmp_path):
    alone = [tmp_path / str(seed) for seed in (4, 5, 6)]
    for folder in alone:
        run(config_for(data, seed=int(folder.name)), folder)
    run(config_for(data, seed=4, seeds=3), tmp_path / "all")
    records, summary = results(tmp_path / "all")
    singles = [results(folder)[1] for folder in alone]
    for row, folder, single in zip(summary["seeds"], alone, singles, strict=True):
        assert row == {name: (single | {"seed": int(folder.name)})[name] for name in row}
    accuracies = [single["test/accuracy"] for single in singles]
    assert summary["test/accuracy"] == pytest.approx(np.mean(accuracies))
    assert summary["test/accuracy/sd"] == pytest.approx(np.std(accuracies, ddof=1))
    assert records[1]["val/loss"] == pytest.approx(np.mean([results(folder)[0][1]["val/loss"] for folder in alone]))
    # The ensemble: the class of the mean of the three distributions, each of them the single run's saved network.
    dataset = load(str(data), "", "")
    images, labels = load_test(dataset)
    nets = [saved.read(folder) for folder in alone]
    together = sum(predict_probabilities(net.static, net.params, images, dataset.scale) for net in nets)
    assert summary["test/ensemble_accuracy"] == (together.argmax(axis=1) == labels).mean()
    assert "test/ensemble_accuracy" not in singles[0]


def test_seeds_that_were_finished_are_not_trained_again(data, tmp_path, monkeypatch):
    config, kept, keep = config_for(data, seeds=3), [], seeds.keep

    def dying(folder, member, dataset):
        keep(folder, member, dataset)
        kept.append(member.config.seed)
        if len(kept) == 2:
            raise Killed

    monkeypatch.setattr(seeds, "keep", dying)
    with pytest.raises(Killed):
        run(config, tmp_path / "run")
    run(config, tmp_path / "run")
    assert sorted(kept) == [0, 1, 2]
    run(config, tmp_path / "whole")
    assert results(tmp_path / "run") == results(tmp_path / "whole")
