"""The Python interface: each call against what stands behind it, another library, or NumPy."""

import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mlp_jax
from mlp_jax.errors import UserError
from mlp_jax.sweeps.sweep import best
from tests.shared.idx_files import idx_bytes
from tests.shared.reference_activations import ACTIVATIONS

TINY = {"dataset": "digits", "hidden_sizes": (8,), "num_epochs": 2}


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def blobs(seed: int = 0, count: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Two features, three classes that a net separates with ease, named by words."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(3, size=count)
    centres = np.array([[0, 0], [6, 0], [0, 6]])
    return (centres[kinds] + rng.normal(size=(count, 2))).astype(np.float32), np.array(["ape", "bee", "cow"])[kinds]


def test_importing_the_package_imports_nothing_slow():
    code = "import sys, mlp_jax; mlp_jax.__version__, dir(mlp_jax); print(*{'jax', 'numpy', 'absl'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_every_name_is_there_and_a_wrong_one_is_told():
    for name in mlp_jax.__all__:
        assert getattr(mlp_jax, name) is not None
    with pytest.raises(AttributeError, match="optimizers"):
        mlp_jax.optimisers  # noqa: B018


def test_forward_and_the_two_gradients_are_those_of_numpy():
    """In float64, from the equations: logits, cross-entropy, λ/2·‖W‖², and the gradient along a random direction."""
    with jax.enable_x64(True):
        params = mlp_jax.init(jax.random.key(0), (5, 7, 3), init="xavier", dtype=jnp.float64)
        rng = np.random.default_rng(0)
        x, y, decay = rng.normal(size=(6, 5)), rng.integers(3, size=6), 0.1

        def objective(weights):
            h = ACTIVATIONS["tanh"](x @ weights[0] + weights[1])
            z = h @ weights[2] + weights[3]
            log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
            return -log_p[np.arange(6), y].mean() + decay / 2 * ((weights[0] ** 2).sum() + (weights[2] ** 2).sum()), z

        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
        value, z = objective(leaves)
        np.testing.assert_allclose(mlp_jax.forward(params, x, activation="tanh"), z, rtol=1e-12)
        direction = [rng.normal(size=leaf.shape) for leaf in leaves]
        ahead, behind = (
            objective([leaf + h * d for leaf, d in zip(leaves, direction, strict=True)])[0] for h in (1e-5, -1e-5)
        )
        for method in ("autodiff", "backprop"):
            loss, grads = mlp_jax.grad(params, x, y, activation="tanh", weight_decay=decay, method=method)
            along = sum((np.asarray(g) * d).sum() for g, d in zip(jax.tree.leaves(grads), direction, strict=True))
            np.testing.assert_allclose([loss, along], [value, (ahead - behind) / 2e-5], rtol=1e-8)


def test_a_gradient_works_under_jit_and_vmap_with_a_traced_decay():
    params = mlp_jax.init(jax.random.key(0), (4, 3))
    x, y = jnp.ones((2, 4)), jnp.array([0, 2])
    losses = jax.jit(jax.vmap(lambda decay: mlp_jax.grad(params, x, y, weight_decay=decay)[0]))(jnp.array([0.0, 1.0]))
    squares = sum(float(jnp.sum(layer.w**2)) for layer in params)
    np.testing.assert_allclose(losses[1] - losses[0], squares / 2, rtol=1e-5)


WEIGHED = {"data": (np.ones((20, 2)), [0, 1] * 10), "sample_weight": range(1, 21)}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: mlp_jax.init(jax.random.key(0), (4,)), ["sizes", "at least two"]),
        (lambda p: mlp_jax.init(jax.random.key(0), (4, 3), init="xaviar"), ["init", "xaviar", "xavier"]),
        (lambda p: mlp_jax.forward(p, np.ones((2, 5))), ["x", "(2, 5)", "(batch, 4)"]),
        (lambda p: mlp_jax.forward(p, np.ones((2, 4)), activation="rellu"), ["activation", "relu"]),
        (lambda p: mlp_jax.grad(p, np.ones((2, 4)), [0, 3]), ["y", "0 to 2"]),
        (lambda p: mlp_jax.grad(p, np.ones((2, 4)), [0, 1, 2]), ["y", "(2,)"]),
        (lambda p: mlp_jax.grad(p, np.ones((2, 4)), [0, 1], method="numeric"), ["method", "autodiff, backprop"]),
        (lambda p: mlp_jax.grad(p, np.ones((2, 4)), [0, 1], loss="hinge"), ["loss", "mse"]),
        (lambda p: mlp_jax.train(learning_rat=1), ["learning_rat", "learning_rate"]),
        (lambda p: mlp_jax.train(learning_rate=-1), ["learning_rate", "-1", "above 0"]),
        (lambda p: mlp_jax.train(learning_rate=[]), ["learning_rate", "[]"]),
        (lambda p: mlp_jax.train("no/such.py"), ["no/such.py"]),
        (lambda p: mlp_jax.train("configs/sweep_random.py"), ["sweep", "mlp_jax.sweep"]),
        (lambda p: mlp_jax.train(data=(np.ones((3, 2)),)), ["data", "(x, y)"]),
        (lambda p: mlp_jax.train(data=(np.full((3, 2), np.nan), [0, 1, 0])), ["x", "NaN"]),
        (lambda p: mlp_jax.train(data=(np.ones((3, 2)), [0, 0, 0])), ["y", "two classes"]),
        (lambda p: mlp_jax.train(data=(np.ones((3, 2)), [0, 1])), ["y", "2 labels", "3 examples"]),
        (lambda p: mlp_jax.train(dataset="digits", sample_weight=[1.0]), ["sample_weight", "data=(x, y)"]),
        (lambda p: mlp_jax.train(learning_rate=[0.1, 0.2], workdir="a"), ["workdir", "learning_rate"]),
        (lambda p: mlp_jax.train(lanes="mixed", class_weight="balanced"), ["class_weight", "lanes='mixed'"]),
        (lambda p: mlp_jax.train(**WEIGHED, lanes="mixed"), ["lanes", "mixed", "sample_weight", "queue"]),
        (
            lambda p: mlp_jax.sweep(**WEIGHED, lanes="mixed", learning_rate=[0.1, 0.2], workdir="a"),
            ["lanes", "mixed", "sample_weight", "queue"],
        ),
        (lambda p: mlp_jax.load("no/run"), ["no/run"]),
        (lambda p: mlp_jax.train((np.ones((3, 2)), [0, 1, 0])), ["config", "tuple", "data=(x, y)"]),
        (lambda p: mlp_jax.train(dataset="digits", seeds=[0, 1]), ["seeds", "seed=[0, 1]"]),
        (lambda p: mlp_jax.train(dataset="own_data"), ["dataset", "'own_data'", "data=(x, y)"]),
        (lambda p: mlp_jax.train(data=(np.ones((3, 2)), ["a", None, "b"])), ["y", "missing", "row 1"]),
        (lambda p: mlp_jax.sweep(dataset="digits", trials=-1, learning_rate=[0.1]), ["run_cap", "-1"]),
        (lambda p: mlp_jax.sweep(dataset="digits"), ["parameters"]),
    ],
)
def test_a_mistake_is_one_line(call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/sweep_random.py").write_text("def get_config():\n    return {'sweep': {}}\n")
    with pytest.raises(ValueError, match=r".") as error:
        call(mlp_jax.init(jax.random.key(0), (4, 3)))
    assert isinstance(error.value, UserError)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configs"]


def test_a_run_without_a_workdir_is_the_run_with_one(tmp_path):
    """The same bits, figures and records, and read back by `load`; without a workdir there is no file."""
    alone = mlp_jax.train(**TINY)
    filed = mlp_jax.train(**TINY, workdir=tmp_path / "a")
    again = mlp_jax.load(tmp_path / "a")
    for other in (filed, again):
        assert same(alone.params, other.params)
        for name in ("best_epoch", "val/accuracy", "test/loss", "test/accuracy", "dataset"):
            assert alone.summary[name] == other.summary[name]
        for name in ("train/loss", "val/loss"):
            assert np.array_equal(alone.history[name], other.history[name])
        assert other.classes.tolist() == list(range(10))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_run_on_arrays_is_the_run_on_the_same_data_as_idx_files(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(256, size=(60, 4, 5)), rng.integers(3, size=60), rng.integers(256, size=(20, 4, 5))]
    x, y, x_test, y_test = (a.astype(np.uint8) for a in [*arrays, rng.integers(3, size=20)])
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    for name, array in zip(names, (x, y, x_test, y_test), strict=True):
        (tmp_path / f"{name}-ubyte").write_bytes(idx_bytes(array))
    fields = {**TINY, "batch_size": 16}
    filed = mlp_jax.train(**{**fields, "dataset": str(tmp_path)})
    given = mlp_jax.train(**fields, data=(x, y, x_test, y_test))
    assert same(filed.params, given.params)
    assert filed.summary["test/loss"] == given.summary["test/loss"]


def test_labels_come_back_as_they_were_given(tmp_path):
    x, y = blobs()
    fields = {"hidden_sizes": (16,), "num_epochs": 30, "learning_rate": 1e-2}
    run = mlp_jax.train(data=(x, y), **fields, workdir=tmp_path / "a")
    test_x, test_y = blobs(1)
    for other in (run, mlp_jax.load(tmp_path / "a")):
        predicted = other.predict(test_x)
        assert set(predicted) <= {"ape", "bee", "cow"}
        found = other.evaluate(test_x, test_y)
        assert found["accuracy"] == np.mean(predicted == test_y) > 0.95
        assert found["confusion"].sum() == len(test_y)
        np.testing.assert_allclose(other.predict_proba(test_x).sum(axis=1), 1)
    assert run.summary["test/accuracy"] is None  # there is no test set
    with pytest.raises(UserError, match="'dog' is no label"):
        run.evaluate(test_x, ["dog"] * len(test_x))
    with pytest.raises(UserError, match="3 features"):
        run.predict(np.ones((1, 3)))
    with pytest.raises(UserError, match="NaN"):
        run.predict([[np.nan, 1.0]])


def test_pixels_are_understood_as_whole_numbers_and_as_fractions():
    run = mlp_jax.train(**TINY)
    pixels = np.random.default_rng(0).integers(17, size=(5, 8, 8))
    by_whole = run.predict_proba(pixels.astype(np.uint8))
    assert np.array_equal(by_whole, run.predict_proba(pixels.astype(np.int64)))
    np.testing.assert_allclose(by_whole, run.predict_proba(pixels / 16), rtol=1e-4)
    with pytest.raises(UserError, match="0 to 16"):
        run.predict(pixels * 20)


def test_a_population_is_its_runs_alone():
    """In the order of the lists, every seed of each; the bits are those of `train` alone."""
    runs = mlp_jax.train(**TINY, learning_rate=[1e-3, 1e-2], optimizer=["sgd", "adam"], seeds=2)
    asked = [(run.config.learning_rate, run.config.optimizer, run.config.seed) for run in runs]
    assert asked == [(rate, name, seed) for rate in (1e-3, 1e-2) for name in ("sgd", "adam") for seed in (0, 1)]
    alone = mlp_jax.train(**TINY, learning_rate=1e-2, optimizer="adam", seed=1)
    assert same(runs[-1].params, alone.params)
    assert runs[-1].summary["test/accuracy"] == alone.summary["test/accuracy"]
    assert [row["optimizer"] for row in runs.rows[:4]] == ["sgd", "sgd", "adam", "adam"]
    assert len(str(runs).splitlines()) == 9
    assert runs._repr_html_().count("<tr>") == 9


@pytest.mark.slow
def test_a_population_of_one_program_is_the_queue_to_the_rounding_of_its_precision():
    """In float64, which the process has not: every thread that trains has it."""
    fields = {**TINY, "precision": "float64", "hidden_sizes": [(4,), (6, 5)]}
    queue, mixed = (mlp_jax.train(**fields, lanes=lanes) for lanes in ("queue", "mixed"))
    for one, other in zip(mixed, queue, strict=True):
        for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(other.params), strict=True):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_lists_of_sizes_are_nets_of_their_own_and_a_list_of_numbers_is_one_net():
    runs = mlp_jax.train(**{**TINY, "hidden_sizes": [(4,), (5, 6)], "num_epochs": 1})
    assert [tuple(layer.w.shape[1] for layer in run.params[:-1]) for run in runs] == [(4,), (5, 6)]
    assert len(mlp_jax.train(**{**TINY, "hidden_sizes": [4, 5], "num_epochs": 1}).params) == 3


def test_a_run_that_diverges_is_an_error_alone_and_a_row_among_others():
    wild = {**TINY, "optimizer": "sgd", "loss": "cross_entropy", "activation": "identity", "hidden_sizes": (64, 64)}
    with pytest.raises(mlp_jax.Diverged, match="learning_rate=1e"):
        mlp_jax.train(**wild, learning_rate=1e30)
    runs = mlp_jax.train(**wild, learning_rate=[1e30, 1e-3])
    assert [run.diverged for run in runs] == [True, False]
    with pytest.raises(mlp_jax.Diverged):
        runs[0].predict(np.zeros((1, 64)))
    assert "diverged" in repr(runs[0])


def test_float64_trains_in_float64_and_leaves_the_process_as_it_was():
    wide = jax.config.jax_enable_x64
    run = mlp_jax.train(**TINY, precision="float64")
    assert run.params[0].w.dtype == np.float64
    assert jax.config.jax_enable_x64 == wide
    with jax.enable_x64(True):
        _, by_hand = mlp_jax.grad(run.params, np.ones((1, 64)), [0], method="backprop")
    assert by_hand[0].w.dtype == np.float64


def test_seeds_in_a_workdir_come_back_as_runs(tmp_path):
    runs = mlp_jax.train(**TINY, seeds=2, workdir=tmp_path / "a")
    assert [run.config.seed for run in runs] == [0, 1]
    assert same(runs[1].params, mlp_jax.train(**TINY, seed=1).params)
    assert runs[1].summary["seed"] == 1


def test_a_run_can_be_pickled_drawn_and_shown():
    run = mlp_jax.train(**TINY)
    again = pickle.loads(pickle.dumps(run))
    assert same(run.params, again.params)
    assert "val/accuracy" in repr(run)
    assert "data:image/png;base64" in run._repr_html_()
    assert {line.get_label() for line in run.plot().axes[0].lines} >= {"training", "validation"}


@pytest.mark.slow
def test_a_sweep_gives_its_trials_and_a_best_that_trains(tmp_path):
    fields = {"dataset": "digits", "num_epochs": 1, "hidden_sizes": (8,)}
    found = mlp_jax.sweep(**fields, method="grid", learning_rate=[1e-3, 1e-2], optimizer=["sgd", "adam"], trials=10)
    assert len(found) == 4  # the whole grid
    scores = [trial["val/accuracy"] for trial in found]
    assert mlp_jax.train(found.best).history["val/accuracy"].max() == max(scores)
    assert {row["optimizer"] for row in found.rows} == {"sgd", "adam"}
    assert found.plot().axes
    filed = mlp_jax.sweep(**fields, learning_rate={"min": 1e-4, "max": 1e-1}, trials=2, workdir=tmp_path / "s")
    assert (tmp_path / "s/report.html").exists()
    assert len(filed) == 2
    x, y = blobs()
    own = mlp_jax.sweep(data=(x, y), hidden_sizes=[(4,), (8, 8)], num_epochs=1, trials=2)
    assert len(own) == 2


def test_arrays_and_ranges_are_the_lists_that_they_mean():
    fields = {**TINY, "num_epochs": 1, "hidden_sizes": np.array([4, 5])}
    rates = np.geomspace(1e-3, 1e-1, 2)
    runs = mlp_jax.train(**fields, learning_rate=rates, seed=range(2))
    assert [(run.config.learning_rate, run.config.seed) for run in runs] == [(r, s) for r in rates for s in (0, 1)]
    assert [layer.w.shape[1] for layer in runs[0].params] == [4, 5, 10]
    found = mlp_jax.sweep(**fields, method="grid", learning_rate=rates)
    assert {trial["parameters"]["learning_rate"] for trial in found} == set(rates)


def test_what_was_found_on_own_arrays_trains_on_nothing_else(tmp_path):
    """Neither its best nor its config falls back on a data set that it never saw."""
    x, y = blobs()
    found = mlp_jax.sweep(data=(x, y), num_epochs=1, hidden_sizes=[(4,), (8,)], trials=2, workdir=tmp_path / "s")
    with pytest.raises(UserError, match=r"data=\(x, y\)"):
        mlp_jax.train(found.best)
    with pytest.raises(UserError, match=r"data=\(x, y\)"):
        best(found.best, tmp_path / "s")
    assert not (tmp_path / "s/best").exists()
    assert mlp_jax.train(found.best, data=(x, y)).classes.tolist() == ["ape", "bee", "cow"]
    with pytest.raises(UserError, match="holds a sweep"):
        mlp_jax.load(tmp_path / "s")


def test_a_workdir_keeps_its_run_from_other_data_and_another_config(tmp_path):
    """The error leaves every file as it was; the call that made the run still finds it finished."""
    x, y = blobs()
    fields = {"hidden_sizes": (4,), "num_epochs": 1, "workdir": tmp_path / "a"}
    first = mlp_jax.train(data=(x, y), **fields)
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    for data, others in (((x + 1, y), {}), ((x, y), {"learning_rate": 0.5})):
        with pytest.raises(UserError, match=r"allowed: .*another"):
            mlp_jax.train(data=data, **fields, **others)
    assert {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()} == before
    assert same(mlp_jax.train(data=(x, y), **fields).params, first.params)
    assert not same(mlp_jax.train(data=(x + 1, y), **fields, resume="never").params, first.params)


def test_a_table_shows_what_there_is(tmp_path):
    x, y = blobs()
    fields = {"data": (x, y), "hidden_sizes": (4,), "num_epochs": 1, "optimizer": "sgd", "activation": "identity"}
    runs = mlp_jax.train(**fields, learning_rate=[1e30, 1e-3])
    assert not any("test" in name for row in runs.rows for name in row)
    assert [row["diverged"] for row in runs.rows] == [True, False]
    for text in (repr(runs[1]), runs[1]._repr_html_()):
        assert "val/accuracy" in text
        assert "test" not in text.partition("<img")[0]


def test_weights_of_rows_reach_the_objective():
    """A row that counts nothing is a row that is not there: at full batch, in float64."""
    x, y = blobs()
    fields = {"hidden_sizes": (5,), "batch_size": 0, "val_fraction": 0.0, "num_epochs": 5, "precision": "float64"}
    counts = (np.arange(len(y)) % 3 > 0).astype(float)
    weighed = mlp_jax.train(data=(x, y), sample_weight=counts, **fields)
    without = mlp_jax.train(data=(x[counts > 0], y[counts > 0]), **fields)
    for a, b in zip(jax.tree.leaves(weighed.params), jax.tree.leaves(without.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
