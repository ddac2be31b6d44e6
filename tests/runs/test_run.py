"""A run from its config to its files: the same bits again, after a break, and whatever the test labels say."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from mlp_jax.data.datasets import load, load_test
from mlp_jax.errors import Diverged, Interrupted, UserError
from mlp_jax.files import checkpoint, workdir
from mlp_jax.lanes.evaluation import predict_probabilities
from mlp_jax.runs import run as experiment
from mlp_jax.runs import saved
from mlp_jax.runs.config import from_json
from mlp_jax.runs.run import run
from mlp_jax.training import Lane
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.slow import fast
from tests.shared.training import small_config

TIMES = ("seconds", "compile_seconds")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "patterns"
    write_idx_folder(folder)
    return folder


def lines(path: Path) -> list[dict]:
    """metrics.jsonl without its times."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in record.items() if not name.startswith(TIMES)} for record in records]


def summary_of(folder: Path) -> dict:
    def strip(row: dict) -> dict:
        return {name: value for name, value in row.items() if not name.startswith(TIMES)}

    summary = strip(json.loads((folder / "summary.json").read_text()))
    return summary | {"seeds": [strip(row) for row in summary["seeds"]]} if "seeds" in summary else summary


def config_for(data: Path, **fields: object):
    return small_config(**{"dataset": str(data), "hidden_sizes": (8,), "batch_size": 20, **fields})


@pytest.fixture
def _no_pictures(monkeypatch):
    """For tests of the numbers: the pictures take most of a small run's time."""
    monkeypatch.setattr(experiment.report, "write_run_plots", lambda folder: None)
    monkeypatch.setattr(experiment.report, "write_run_report", lambda *arguments: None)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    run(config_for(data, num_epochs=3), folder)
    return folder


def test_a_run_leaves_the_files_that_users_are_promised(finished, data):
    assert {"config.json", "metrics.jsonl", "summary.json", "checkpoints", "plots", "report.html"} <= set(
        os.listdir(finished)
    )
    assert {"samples.png", "curves.png", "confusion_matrix.png"} <= set(os.listdir(finished / "plots"))
    records = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
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


def test_the_test_figures_are_of_the_best_parameters_over_every_example(finished, data):
    found = checkpoint.restore(finished / "checkpoints", _template(data), {})
    arrays = make_arrays()
    x, y = np.float64(arrays["t10k-images"].reshape(50, -1)) / 255, arrays["t10k-labels"]
    for layer in found.state.best.params[:-1]:
        x = np.maximum(x @ np.float64(layer.w) + layer.b, 0)
    logits = x @ np.float64(found.state.best.params[-1].w) + found.state.best.params[-1].b
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(50), y]
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["test/accuracy"] == (logits.argmax(1) == y).mean()
    assert summary["test/loss"] == pytest.approx(losses.mean(), rel=1e-5)


def _template(data: Path) -> Lane:
    import jax

    from mlp_jax.hparams import split_config
    from mlp_jax.training import init_lane, make_keys

    static, hparams = split_config(config_for(data, num_epochs=3), 36, 4, 180)
    return jax.eval_shape(lambda: init_lane(static, hparams, make_keys(0)))


@pytest.mark.usefixtures("_no_pictures")
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(finished, data, tmp_path):
    run(config_for(data, num_epochs=3), tmp_path / "again")
    run(config_for(data, num_epochs=3, seed=1), tmp_path / "other")
    assert lines(tmp_path / "again/metrics.jsonl") == lines(finished / "metrics.jsonl")
    assert summary_of(tmp_path / "again") == summary_of(finished)
    assert lines(tmp_path / "other/metrics.jsonl") != lines(finished / "metrics.jsonl")


def test_a_finished_run_does_nothing_again(finished, data, monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    monkeypatch.setattr(experiment, "load", lambda *_: pytest.fail("a finished run reads nothing"))
    run(config_for(data, num_epochs=3), finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert "is finished" in capsys.readouterr().out


def test_the_test_set_is_out_of_reach(data, tmp_path):
    """With the test labels permuted every file but the test figures and pictures is the same, byte for byte."""
    arrays = make_arrays()
    arrays["t10k-labels"] = np.random.default_rng(5).permutation(arrays["t10k-labels"])
    for name, given in (("plain", make_arrays()), ("permuted", arrays)):
        (tmp_path / name).mkdir()
        write_idx_folder(tmp_path / name / "patterns", given)
        here = Path.cwd()
        os.chdir(tmp_path / name)  # so that both configs name the same folder
        try:
            run(config_for(Path("patterns"), num_epochs=6, learning_rate=0.01), Path("run"))
        finally:
            os.chdir(here)

    def files(name: str) -> dict[str, bytes]:
        root = tmp_path / name / "run"
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    plain, permuted = files("plain"), files("permuted")
    test_files = {"summary.json", "evaluation.json", "report.html", "plots/confusion_matrix.png"}
    test_files |= {"plots/mistakes.png", "plots/mistakes_by_cell.png"}
    timed = {"metrics.jsonl", "sums.json"} | {name for name in plain if name.endswith(("extra.json", "manifest.json"))}
    assert plain.keys() == permuted.keys()
    for name in plain.keys() - test_files - timed:
        assert plain[name] == permuted[name], name
    assert lines(tmp_path / "plain/run/metrics.jsonl") == lines(tmp_path / "permuted/run/metrics.jsonl")
    one, other = summary_of(tmp_path / "plain/run"), summary_of(tmp_path / "permuted/run")
    assert one.pop("test/accuracy") != other.pop("test/accuracy")
    assert one.pop("test/loss") != other.pop("test/loss")
    assert one == other


@pytest.mark.usefixtures("_no_pictures")
def test_the_test_set_is_read_once_after_the_last_epoch(data, tmp_path, monkeypatch):
    seen = []
    load_test = experiment.load_test

    def spy(dataset):
        seen.append(len((tmp_path / "run/metrics.jsonl").read_text().splitlines()))
        return load_test(dataset)

    monkeypatch.setattr(experiment, "load_test", spy)
    run(config_for(data, num_epochs=3), tmp_path / "run")
    assert seen == [3]


class _Killed(BaseException):
    """What kill -9 is to the code that it meets: nothing after it runs."""


@pytest.mark.parametrize("place", ["append_jsonl", "write_jsonl", "save", "load_test", "write_run_plots"])
@pytest.mark.parametrize("call", fast([1, 2, 3], [2]))
@pytest.mark.usefixtures("_no_pictures")
def test_a_run_that_dies_anywhere_ends_with_the_same_bits(place, call, finished, data, tmp_path, monkeypatch):
    config = config_for(data, num_epochs=3, steps_per_call=4, checkpoint_seconds=0.0)
    owner = {"save": checkpoint, "load_test": experiment, "write_run_plots": experiment.report}.get(place, workdir)
    original, calls = getattr(owner, place), []

    def dying(*arguments, **options):
        calls.append(place)
        if len(calls) == call:
            raise _Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, place, dying)
    folder = tmp_path / "run"
    died = False
    for _ in range(6):
        try:
            run(config, folder)
            break
        except _Killed:
            died = True
    assert died == (len(calls) >= call)
    assert lines(folder / "metrics.jsonl") == lines(finished / "metrics.jsonl")
    assert summary_of(folder) == summary_of(finished)


@pytest.mark.usefixtures("_no_pictures")
def test_a_signal_saves_and_says_how_to_go_on(finished, data, tmp_path, monkeypatch):
    append, folder = workdir.append_jsonl, tmp_path / "run"

    def signalled(path, record):
        append(path, record)
        if record["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(workdir, "append_jsonl", signalled)
    with pytest.raises(Interrupted, match=f"SIGTERM.*--workdir={folder}"):
        run(config_for(data, num_epochs=3), folder)
    assert os.listdir(folder / "checkpoints") == ["18"]
    monkeypatch.setattr(workdir, "append_jsonl", append)
    run(config_for(data, num_epochs=3), folder)
    assert lines(folder / "metrics.jsonl") == lines(finished / "metrics.jsonl")


@pytest.mark.usefixtures("_no_pictures")
def test_a_signal_ends_a_run_of_several_seeds_between_two_of_them(data, tmp_path, monkeypatch):
    from mlp_jax.runs import seeds

    keep = seeds.keep

    def signalled(folder, member, dataset):
        keep(folder, member, dataset)
        os.kill(os.getpid(), signal.SIGINT)

    config, folder = config_for(data, seeds=3), tmp_path / "run"
    monkeypatch.setattr(seeds, "keep", signalled)
    with pytest.raises(Interrupted, match=f"SIGINT.*--workdir={folder}"):
        run(config, folder)
    assert len(list((folder / "seeds").iterdir())) == 1


@pytest.mark.usefixtures("_no_pictures")
def test_a_damaged_checkpoint_costs_time_but_never_numbers(finished, data, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    monkeypatch.setattr(experiment, "load_test", lambda _: (_ for _ in ()).throw(_Killed()))
    with pytest.raises(_Killed):
        run(config_for(data, num_epochs=3, checkpoint_seconds=0.0), folder)
    monkeypatch.undo()
    newest = folder / "checkpoints/27/arrays/float32/0"
    content = bytearray(newest.read_bytes())
    content[100] ^= 1
    newest.write_bytes(content)
    run(config_for(data, num_epochs=3, checkpoint_seconds=0.0), folder)
    assert "damaged" in capsys.readouterr().err
    assert lines(folder / "metrics.jsonl") == lines(finished / "metrics.jsonl")
    assert summary_of(folder) == summary_of(finished)


@pytest.mark.parametrize("name", ["summary.json", "metrics.jsonl", "evaluation.json"])
@pytest.mark.parametrize("damage", ["flip", "drop"])
@pytest.mark.usefixtures("_no_pictures")
def test_a_finished_run_mends_a_file_that_was_damaged_since(name, damage, finished, data, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    if damage == "drop":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"9", b"8", 1))
    run(config_for(data, num_epochs=3), folder)
    assert (f"{name}: is missing or damaged" in capsys.readouterr().err) == (name != "summary.json" or damage == "flip")
    assert lines(folder / "metrics.jsonl") == lines(finished / "metrics.jsonl")
    assert summary_of(folder) == summary_of(finished)
    assert (folder / "evaluation.json").read_bytes() == (finished / "evaluation.json").read_bytes()


@pytest.mark.usefixtures("_no_pictures")
def test_a_finished_run_mends_its_last_checkpoint(finished, data, tmp_path, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    array = folder / "checkpoints/27/arrays/float32/0"
    whole = array.read_bytes()
    array.write_bytes(whole[:-1])
    run(config_for(data, num_epochs=3), folder)
    assert array.read_bytes() == whole
    assert summary_of(folder) == summary_of(finished)


@pytest.mark.usefixtures("_no_pictures")
def test_a_config_that_was_damaged_before_the_first_checkpoint_is_refused(data, tmp_path, monkeypatch):
    """Nothing else would tell: the run would go on with other numbers."""
    monkeypatch.setattr(experiment, "_train", lambda *_: (_ for _ in ()).throw(_Killed()))
    with pytest.raises(_Killed):
        run(config_for(data), tmp_path / "run")
    monkeypatch.undo()
    path = tmp_path / "run/config.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match=r"config.json: is damaged or was edited"):
        from_json(path)


@pytest.mark.usefixtures("_no_pictures")
def test_a_resume_on_other_cores_says_that_bits_may_differ(finished, data, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(finished, tmp_path / "run")
    run(config_for(data, num_epochs=4), folder)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(experiment.runtime, "usable_cores", lambda: 77)
    run(config_for(data, num_epochs=5), folder)
    assert "goes on with 77 usable cores" in capsys.readouterr().err


@pytest.mark.usefixtures("_no_pictures")
def test_more_epochs_go_on_from_the_end(finished, data, tmp_path):
    run(config_for(data, num_epochs=1), tmp_path / "grown")
    run(config_for(data, num_epochs=3), tmp_path / "grown")
    assert lines(tmp_path / "grown/metrics.jsonl") == lines(finished / "metrics.jsonl")
    assert summary_of(tmp_path / "grown") == summary_of(finished)


@pytest.mark.usefixtures("_no_pictures")
def test_resume_never_starts_over(data, tmp_path):
    run(config_for(data, num_epochs=2), tmp_path / "run")
    run(config_for(data, num_epochs=1, resume="never", seed=3), tmp_path / "run")
    assert [record["epoch"] for record in lines(tmp_path / "run/metrics.jsonl")] == [1]
    assert json.loads((tmp_path / "run/config.json").read_text())["seed"] == 3


@pytest.mark.usefixtures("_no_pictures")
def test_a_second_process_on_a_workdir_is_told_so(data, tmp_path):
    workdir.create(tmp_path / "run")
    with workdir.lock(tmp_path / "run"), pytest.raises(UserError, match="in use"):
        run(config_for(data), tmp_path / "run")


@pytest.mark.usefixtures("_no_pictures")
def test_an_error_of_the_data_leaves_no_workdir(tmp_path):
    with pytest.raises(UserError):
        run(config_for(tmp_path / "nothing"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("steps_per_call", "checkpoint_seconds"), [(0, 60.0), (1, 0.0)])
@pytest.mark.usefixtures("_no_pictures")
def test_divergence_names_the_step_the_layer_and_the_cause(steps_per_call, checkpoint_seconds, data, tmp_path):
    config = config_for(data, optimizer="sgd", learning_rate=1e6, activation="identity", num_epochs=20)
    config.update({"steps_per_call": steps_per_call, "checkpoint_seconds": checkpoint_seconds})
    with pytest.raises(Diverged, match=r"step \d+: the .* of layer \d is not finite; .*learning_rate 1e\+06"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run/summary.json").exists()
    for kept in (tmp_path / "run/checkpoints").glob("*/extra.json"):
        assert all(np.isfinite(r["train/loss"]) for r in json.loads(kept.read_text())["records"])


@pytest.mark.usefixtures("_no_pictures")
def test_a_last_step_whose_gradient_overflows_is_divergence_too(data, tmp_path):
    """Its loss is finite, and no later loss tells of the parameters that it left."""
    config = config_for(data, optimizer="sgd", learning_rate=3e38, batch_size=0, num_epochs=1, val_fraction=0.0)
    config.update({"init": "random", "init_scale": 30.0})
    with pytest.raises(Diverged, match=r"step 1: the parameters of layer \d is not finite; .*learning_rate 3e\+38"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run/summary.json").exists()


@pytest.mark.usefixtures("_no_pictures")
def test_several_seeds_are_the_runs_of_each_seed_and_their_mean(data, tmp_path):
    alone = []
    for seed in (4, 5, 6):
        run(config_for(data, seed=seed), tmp_path / str(seed))
        alone.append(summary_of(tmp_path / str(seed)))
    run(config_for(data, seed=4, seeds=3), tmp_path / "all")
    summary = summary_of(tmp_path / "all")
    for row, single in zip(summary["seeds"], alone, strict=True):
        assert {name: row[name] for name in ("test/loss", "test/accuracy", "val/accuracy", "best_epoch")} == {
            name: single[name] for name in ("test/loss", "test/accuracy", "val/accuracy", "best_epoch")
        }
    accuracies = [single["test/accuracy"] for single in alone]
    assert summary["test/accuracy"] == pytest.approx(np.mean(accuracies))
    assert summary["test/accuracy/sd"] == pytest.approx(np.std(accuracies, ddof=1))
    # The ensemble: the class of the mean of the three distributions, each of them the single run's saved network.
    nets = [saved.read(tmp_path / str(seed)) for seed in (4, 5, 6)]
    dataset = load(str(data), "", "")
    images, labels = load_test(dataset)
    together = sum(predict_probabilities(net.static, net.params, images, dataset.scale) for net in nets)
    assert summary["test/ensemble_accuracy"] == (together.argmax(axis=1) == labels).mean()
    assert "test/ensemble_accuracy" not in summary_of(tmp_path / "4")
    records = lines(tmp_path / "all/metrics.jsonl")
    singles = [lines(tmp_path / str(seed) / "metrics.jsonl") for seed in (4, 5, 6)]
    assert records[1]["val/loss"] == pytest.approx(np.mean([rows[1]["val/loss"] for rows in singles]))


@pytest.mark.usefixtures("_no_pictures")
def test_seeds_that_were_finished_are_not_trained_again(data, tmp_path, monkeypatch):
    from mlp_jax.runs import seeds

    config, kept = config_for(data, seeds=3), []
    keep = seeds.keep

    def dying(folder, member, dataset):
        keep(folder, member, dataset)
        kept.append(member.config.seed)
        if len(kept) == 2:
            raise _Killed

    monkeypatch.setattr(seeds, "keep", dying)
    with pytest.raises(_Killed):
        run(config, tmp_path / "run")
    run(config, tmp_path / "run")
    run(config, tmp_path / "whole")
    assert len(kept) == 3 + 3
    assert len(set(kept[:3])) == 3
    assert summary_of(tmp_path / "run") == summary_of(tmp_path / "whole")
    assert lines(tmp_path / "run/metrics.jsonl") == lines(tmp_path / "whole/metrics.jsonl")


@pytest.mark.parametrize("field", [{"val_fraction": 1e-6}, {"mesh": "data:99"}])
def test_what_only_data_and_devices_can_tell_leaves_no_workdir(field, data, tmp_path):
    with pytest.raises(UserError, match=next(iter(field))):
        run(config_for(data, **field), tmp_path / "run")
    assert not (tmp_path / "run").exists()
