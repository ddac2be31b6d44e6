"""What a training leaves: one network, the runs of a population as a table, the trials of a sweep."""

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import jax
import numpy as np
from ml_collections import ConfigDict

from mlp_jax.data.arrays import as_features, as_places
from mlp_jax.errors import Diverged, UserError
from mlp_jax.hparams import Static
from mlp_jax.lanes.evaluation import evaluate_on, predict_probabilities
from mlp_jax.model import Params

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, Any]


@contextmanager
def precision_of(config: ConfigDict) -> Iterator[None]:
    """64-bit types as long as a float64 run computes; JAX's own setting before and after."""
    with jax.enable_x64(True) if config.precision == "float64" else nullcontext():
        yield


class Net(NamedTuple):
    """A trained network, and what turns the user's inputs and labels into its own and back."""

    static: Static
    params: Params
    classes: np.ndarray  # the labels, in the order of the logits
    scale: int  # the largest value of a pixel; 1 for features

    def features(self, x: Any) -> tuple[np.ndarray, int]:
        """x (n, …) as the network was trained, (n, inputs), and the scale of its values.

        Whole numbers are pixels where it was trained on pixels; fractions are then taken as 0 … 1.
        """
        array = as_features("x", x, self.static.sizes[:1])
        array = array.reshape(len(array), -1)
        if self.scale == 1 or (array.dtype != np.uint8 and not (array == np.rint(array)).all()):
            return array, 1
        if array.min() < 0 or array.max() > self.scale:
            raise UserError(f"x: pixels from {array.min():g} to {array.max():g}; allowed are 0 to {self.scale}")
        return array.astype(np.uint8), self.scale

    def indices(self, y: Any, count: int) -> np.ndarray:
        """The places of the labels y (count,) in `classes`."""
        return as_places("y", y, count, self.classes)


class Run:
    """One trained network.

    `config` is the whole config as run, `params` a tuple of `Layer(w, b)` (NumPy arrays; of the epoch that validation
    chose), `history` maps each name of metrics.jsonl to an array over the epochs, `summary` holds the figures of
    summary.json. A notebook shows it as a table with its curves.
    """

    def __init__(self, config: ConfigDict, net: Net | None, records: Sequence[Record], summary: dict[str, Any]) -> None:
        self.config, self.summary = config, summary
        self.records = list(records)
        self._net = net

    @property
    def net(self) -> Net:
        """The network; raises `Diverged` for a run of a population that has none."""
        if self._net is None:
            raise Diverged(f"this run diverged in epoch {len(self.records)}: it left no network")
        return self._net

    @property
    def params(self) -> Params:
        """The parameters that validation chose, of the last epoch where there was no validation."""
        return self.net.params

    @property
    def diverged(self) -> bool:
        """Whether the loss became not finite, which ends a run of a population without ending the others."""
        return self._net is None

    @property
    def classes(self) -> np.ndarray:
        """The labels, in the order of the columns of `predict_proba`."""
        return self.net.classes

    @property
    def history(self) -> dict[str, np.ndarray]:
        """name -> array over the epochs, (epochs,) or, of probes, (epochs, layers); NaN where there is no number."""
        names = self.records[0] if self.records else ()
        return {name: np.asarray([_number(record[name]) for record in self.records]) for name in names}

    def predict_proba(self, x: Any) -> np.ndarray:
        """The distribution over `classes` for each row of x, (n, …) like the training data: float64 (n, classes)."""
        with precision_of(self.config):
            return predict_probabilities(self.net.static, self.params, *self.net.features(x))

    def predict(self, x: Any) -> np.ndarray:
        """The most probable label of each row of x: (n,), in the training labels' own type."""
        return self.classes[self.predict_proba(x).argmax(axis=-1)]

    def evaluate(self, x: Any, y: Any) -> dict[str, Any]:
        """What the network makes of rows x with labels y.

        `loss` (without λ and dropout) and `accuracy`; a class each `precision`, `recall` and `f1`; `confusion`, rows
        true. A label that training did not have is a UserError.
        """
        features, scale = self.net.features(x)
        labels = self.net.indices(y, len(features))
        with precision_of(self.config):
            tested = evaluate_on(self.net.static, self.params, features, labels, scale)
        scores = {name: getattr(tested.scores, name) for name in ("precision", "recall", "f1")}
        return {"loss": tested.loss, "accuracy": tested.accuracy, **scores, "confusion": tested.confusion}

    def plot(self) -> "Figure":
        """Loss and accuracy over the epochs, as curves.png shows them: a matplotlib figure."""
        from mlp_jax.reports.plots import curves

        return curves(self.records)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_short(value)}" for name, value in _figures(self.summary).items())
        sizes = "-".join(map(str, self._net.static.sizes)) if self._net else "diverged"
        return f"<Run {self.summary.get('dataset')}, {sizes}, {len(self.records)} epochs: {shown}>"

    def _repr_html_(self) -> str:
        rows = [{"": name, "value": _short(value)} for name, value in _figures(self.summary).items()]
        return _html_table(rows) + (_html_figure(self.plot()) if self.records else "")


def _figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the figures that there are: without a test set none of it."""
    return {name: summary[name] for name in FIGURES if summary.get(name) is not None}


MOST_ROWS = 30  # of a table as text
FIGURES = ("best_epoch", "val/accuracy", "test/loss", "test/accuracy", "seconds")


class Table(Sequence[Any]):
    """Things with a row of plain values each; a notebook shows the table, `to_frame` gives pandas' DataFrame."""

    def __init__(self, items: Sequence[Any], rows: list[dict[str, Any]]) -> None:
        self._items, self.rows = list(items), rows

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def to_frame(self) -> Any:
        """The rows as a pandas DataFrame, where pandas is installed."""
        try:
            import pandas
        except ImportError:
            raise UserError("to_frame: pandas is not installed: pip install pandas") from None
        return pandas.DataFrame(self.rows)

    def __repr__(self) -> str:
        return _text_table(self.rows)

    def _repr_html_(self) -> str:
        return _html_table(self.rows)


class Runs(Table):
    """The runs of one population, a `Run` each in the order asked for, and a table of what varied and came of it."""

    def __init__(self, runs: Sequence[Run], varied: Sequence[str]) -> None:
        figures = [_figures(run.summary) for run in runs]
        names = [name for name in FIGURES if any(name in each for each in figures)]
        rows = [
            {**{field: run.config[field] for field in varied}, **{name: each.get(name) for name in names}}
            for run, each in zip(runs, figures, strict=True)
        ]
        if any(run.diverged for run in runs):
            rows = [{**row, "diverged": run.diverged} for row, run in zip(rows, runs, strict=True)]
        super().__init__(runs, rows)


class Sweep(Table):
    """The trials of a sweep, dictionaries as trials.jsonl has them.

    `best` is the config that was best on validation, which `mlp_jax.train` takes, None where no trial has finished.
    """

    def __init__(self, config: ConfigDict, trials: list[dict[str, Any]], best: ConfigDict | None) -> None:
        self.config, self.best = config, best
        figures = ("number", "status", "metric", "val/accuracy", "best_epoch", "seconds")
        rows = [{**trial.get("parameters", {}), **{name: trial.get(name) for name in figures}} for trial in trials]
        super().__init__(trials, rows)

    def plot(self) -> "Figure":
        """Parallel coordinates, one line a trial: a matplotlib figure."""
        from mlp_jax.reports.sweep_plots import parallel_coordinates

        metric = self.config.sweep.to_dict().get("metric", {})
        larger = metric.get("goal", "maximize") != "minimize"
        return parallel_coordinates(list(self), metric.get("name", "val/accuracy"), None, {}, larger)


def _number(value: Any) -> Any:
    return np.nan if value is None else value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _cells(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[_short(row.get(name)) for name in names] for row in rows]


def _text_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names, cells = _cells(rows)
    shown = [names, *cells[:MOST_ROWS]]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]
    return "\n".join(lines + [f"… {len(rows)} rows"] * (len(rows) > MOST_ROWS))


def _html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    names, cells = _cells(rows)
    head, *body = (
        "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in row) + "</tr>"
        for kind, row in [("th", names), *(("td", row) for row in cells)]
    )
    return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def _html_figure(figure: "Figure") -> str:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return f'<img style="max-width:100%" src="data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}">'
