"""python -m benchmarks.ahead: the programs compiled for accelerators that are not here, to machine code; one table.

    make check-accelerator                           on a machine without one: every chip of benchmarks.chips
    .venv-accelerator/bin/python -m benchmarks.ahead v5e h100        two of them
    … v5e --only='one run' --text=DIR                the programs so named, and the compiled text of each
    … --write                                        the tables of docs/accelerators.md, all in benchmarks/results/

The steps of a run alone, of a run over four chips and of mixed lanes, and an evaluation, are compiled for every chip
in each precision. The rest is in float32, and where it says something new: 1,944 lanes are the text of 256 with
another number, so that they only show the memory that the steps and the end of an epoch take; sixteen chips show
whether other collectives come in. What ends the epoch of a single run is the loop of an evaluation.

Nothing runs: JAX describes a topology of devices that can only be compiled for (libtpu for TPUs, CUDA's plugin
without its driver for GPUs), and every array is a shape with a sharding. The one function that places arrays,
`placement.put`, is replaced by that; the rest is the code of a run. For AMD the program is lowered only, since no
package compiles for it without its driver. The least time of a step is that of its FLOPs at the chip's published peak
or of its bytes at its published bandwidth, whichever is longer: a bound, not a measurement.
"""

import argparse
import itertools
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NamedTuple

from benchmarks import hlo, results
from benchmarks.chips import CHIPS, Chip

PRECISIONS = ("float32", "tf32", "bfloat16")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")
ROWS, SIDE, CLASSES = 60_000, 28, 10
EXAMPLES = 54_000  # of them train
LANES = (256, 1944)  # of mixed kinds; 1,944 trainings of the suggested grid share a batch size
# How often a step of mixed lanes reads and writes the parameters at most; Adam needs 8. In bfloat16 a GPU writes a
# copy of 16 bits a number and reads that: 10.8 (H100) to 11.2 (T4).
COPIES = {"float32": 10, "tf32": 10, "bfloat16": 12}
STEPS, BOTH = ("steps",), ("steps", "end")  # kinds of programs
UNDER_WAY = "compiling"  # before the name of a program in the lines of a chip's process
RESULT, PAGE = Path("benchmarks/results/ahead.json"), Path("docs/accelerators.md")
BEGIN = "<!-- written by python -m benchmarks.ahead --write -->"
GPUS = [chip.name for chip in CHIPS.values() if chip.platform == "cuda"]
HEADINGS = (
    "program",
    "chips",
    "compile s",
    "kernels/step",
    "MFLOP/step",
    "MB/step",
    "× parameters",
    "least µs/step",
    "peak MB",
    "collectives/step",
    "elsewhere",
)


class Row(NamedTuple):
    """A compiled program. FLOPs, bytes and collectives are of one device and one step (an evaluation's batch)."""

    chip: str
    program: str
    devices: int
    compile_seconds: float
    kernels: int
    flops: float
    bytes: float
    copies: float  # how often as many bytes as the parameters have are read or written in arrays of their sizes
    least_us: float
    peak_bytes: float  # of the device's memory, arguments and results included
    collectives: dict[str, int]  # of a step
    elsewhere: dict[str, int]  # of the rest of a call
    error: str = ""
    versions: str = ""  # of JAX and the compilers
    date: str = ""


def prepare() -> None:
    """Before JAX starts: no device but the CPU, and libtpu asks nobody for neighbours and keeps no log or lock."""
    os.environ.update(
        JAX_PLATFORMS="cpu",
        TPU_SKIP_MDS_QUERY="1",
        TPU_ACCELERATOR_TYPE="v5litepod-4",
        TPU_WORKER_HOSTNAMES="localhost",
        TPU_WORKER_ID="0",
        ALLOW_MULTIPLE_LIBTPU_LOAD="1",
        TPU_LOG_DIR="disabled",
        TF_CPP_MIN_LOG_LEVEL="3",
    )


def devices_of(chip: Chip, topology: str) -> list[Any]:
    """The described devices of a topology."""
    from jax.experimental import topologies

    if chip.platform == "cuda":
        described = topologies.get_topology_desc(platform="cuda", target_config=chip.target, topology=topology)
    else:
        described = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    return list(described.devices)


def as_shapes(tree: Any, shardings: Any) -> Any:
    """What `placement.put` would give, without a device that holds it."""
    import jax
    import numpy as np

    if isinstance(shardings, jax.sharding.Sharding):
        shardings = jax.tree.map(lambda _: shardings, tree)

    def leaf(x: Any, place: Any) -> Any:
        x = x if hasattr(x, "dtype") else np.asarray(x)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

    return jax.tree.map(leaf, tree, shardings)


def stacked_shapes(trees: Any) -> Any:
    """Likewise of `fit.stack`."""
    import jax

    def leaf(*leaves: Any) -> Any:
        first = leaves[0]
        return jax.ShapeDtypeStruct((len(leaves), *first.shape), first.dtype, sharding=first.sharding)

    return jax.tree.map(leaf, *trees)


def grid() -> list[dict[str, Any]]:
    """What decides the program of the suggested grid's nets: one of each depth, width, activation, optimizer and λ."""
    nets = itertools.product((3, 4, 5), (32, 64, 128), ("sigmoid", "tanh", "relu"), OPTIMIZERS, (0.0, 5e-4))
    names = ("activation", "optimizer", "weight_decay")
    return [{"hidden_sizes": (width,) * depth, **dict(zip(names, rest, strict=True))} for depth, width, *rest in nets]


class Programs:
    """Compiles for one chip."""

    def __init__(self, chip: Chip) -> None:
        import numpy as np

        from mlp_jax.data.datasets import Dataset

        self.chip, self.found = chip, []
        images, labels = np.zeros((ROWS, SIDE * SIDE), np.uint8), np.arange(ROWS, dtype=np.uint8) % CLASSES
        self.data = Dataset("zeros", images, labels, tuple("0123456789"), (SIDE, SIDE), 255, "", lambda: None)

    def task(self, placement: Any, **fields: Any) -> Any:
        """A config of the suggested grid's widest net of three layers, made ready for described devices."""
        from mlp_jax.lanes.fit import make_task, place_data
        from mlp_jax.runs.config import complete

        own = {"dataset": "fashion_mnist", "hidden_sizes": (128, 128, 128), "batch_size": 32, **fields}
        placed = place_data(self.data.train_images, self.data.train_labels, self.data.scale, placement)
        return make_task(complete(own), self.data, placed, placement)

    def one_run(self, placement: Any, **fields: Any) -> dict[str, Any]:
        """The steps of a single run."""
        task, compiler = self.task(placement, **fields), timed_compiler(STEPS, self.chip)
        compiler(task)
        return {"static": task.static, "lanes": 1, **compiler.found}

    def side_by_side(self, placement: Any, count: int) -> dict[str, Any]:
        """Those of lanes of one shape, `count` on each device."""
        from mlp_jax.lanes.fit import Chunk

        size = count * len(placement.whole.device_set)
        task, compiler = self.task(placement), timed_compiler(STEPS, self.chip)
        compiler.side_by_side(Chunk([task] * size, size, True))
        return {"static": task.static, "lanes": count, **compiler.found}

    def mixed(self, kinds: tuple[str, ...], placement: Any, count: int, **fields: Any) -> dict[str, Any]:
        """Those of the suggested grid's trainings of one batch size, all shapes together, or as many of them."""
        from mlp_jax.hparams import split_config
        from mlp_jax.lanes import mixed
        from mlp_jax.lanes.fit import MixedChunk
        from mlp_jax.runs.config import complete

        devices = len(placement.whole.device_set)
        first, compiler = self.task(placement, **fields), timed_compiler(kinds, self.chip)
        configs = [complete({"dataset": "fashion_mnist", "batch_size": 32, **fields, **net}) for net in grid()]
        halves = [split_config(config, SIDE * SIDE, CLASSES, len(first.train_indices)) for config in configs]
        form = mixed.form_of(static for static, _ in halves)
        size = -(-count // devices) * devices
        chunk = MixedChunk(first, form, configs, (halves * count)[:count], size)
        compiler.mixed(chunk)
        return {"static": form.static, "lanes": size // devices, **compiler.found}

    def evaluation(self, placement: Any, **fields: Any) -> dict[str, Any]:
        """A trained network on the 10,000 examples of a test set."""
        import jax
        import numpy as np

        from mlp_jax.lanes.fit import place_data, place_rows
        from mlp_jax.model import init_params
        from mlp_jax.training import EVALUATION_BATCH, evaluate

        task = self.task(placement, **fields)
        static, images = task.static, self.data.train_images[:10_000]
        data = place_data(images, self.data.train_labels[:10_000], 255, placement)
        rows = place_rows(np.arange(10_000), EVALUATION_BATCH, placement)
        draw = partial(init_params, sizes=static.sizes, init="he", init_scale=1.0, dtype=static.dtype)
        params = as_shapes(jax.eval_shape(draw, task.keys.init), placement.whole)
        lowered = jax.jit(partial(evaluate, static)).lower(params, data, rows)
        start = time.perf_counter()
        return {"static": static, "lanes": 1, "evaluate": (lowered.compile(), time.perf_counter() - start)}

    def all(self) -> Iterator[tuple[str, int, Callable[[], dict[str, Any]]]]:
        """(name, devices, what compiles it) of every program."""
        from mlp_jax.lanes.placement import on_device, over_devices, over_lanes

        few, many = self.chip.topologies
        devices = devices_of(self.chip, few)
        one, lanes = on_device(devices[0]), over_lanes(devices)
        for precision in PRECISIONS:
            own = {"precision": precision}
            yield f"one run, {precision}", 1, partial(self.one_run, one, **own)
            yield f"evaluation, {precision}", 1, partial(self.evaluation, one, **own)
            for axis, parts in (("data", 1), ("fsdp", len(devices))):
                divided = partial(self.one_run, over_devices(devices, parts), batch_size=4096, **own)
                yield f"{axis}:{len(devices)}, batch 4096, {precision}", len(devices), divided
            yield f"{LANES[0]} mixed lanes, {precision}", 1, partial(self.mixed, STEPS, one, LANES[0], **own)
        yield f"64 lanes over {len(devices)}", len(devices), partial(self.side_by_side, lanes, 64)
        yield f"{LANES[1]} mixed lanes", 1, partial(self.mixed, BOTH, one, LANES[1])
        yield f"{LANES[1]} mixed lanes over {len(devices)}", len(devices), partial(self.mixed, BOTH, lanes, LANES[1])
        devices = devices_of(self.chip, many)
        for axis, parts in (("data", 1), ("fsdp", len(devices))):
            divided = partial(self.one_run, over_devices(devices, parts), batch_size=4096)
            yield f"{axis}:{len(devices)}, batch 4096", len(devices), divided
        for batch in (16, 64) if self.chip is CHIPS["h100"] else ():  # for the estimate of the grid
            mixed = partial(self.mixed, STEPS, one, LANES[0], batch_size=batch)
            yield f"{LANES[0]} mixed lanes, batch {batch}", 1, mixed


def timed_compiler(kinds: tuple[str, ...], chip: Chip) -> Any:
    """The project's compiler, of programs of these kinds; `found` holds (executable, seconds) of each by its kind."""
    import jax

    from mlp_jax.lanes.compile import Compiler

    class Timed(Compiler):
        def __init__(self) -> None:
            super().__init__()
            self.found: dict[str, Any] = {}

        def _once(self, task: Any, kind: Any, f: Any, arguments: Any, donated: Any = ()) -> Any:
            if kind[0] not in kinds:
                return None
            before = self.seconds
            made = super()._once(task, kind, f, arguments, donated)
            self.found[kind[0]] = made, self.seconds - before
            if chip is CHIPS["h100"]:  # for AMD as well, as far as that goes without its driver
                jax.jit(f).trace(*arguments()[0]).lower(lowering_platforms=("rocm",))
            return made

    return Timed()


def row(chip: Chip, name: str, devices: int, made: Any, seconds: float, static: Any, lanes: int) -> Row:
    """The line of one compiled program; `lanes` of each device. FLOPs are the useful ones, by the widths of the net."""
    from mlp_jax.training import EVALUATION_BATCH, UNROLL

    memory, text, kind = made.memory_analysis(), made.as_text(), name.rpartition(": ")[2]
    step = hlo.body(text)
    steps = UNROLL if kind == "steps" and lanes == 1 and chip.platform == "cuda" else 1  # of a turn of the loop
    within, everywhere = hlo.collectives(step), hlo.collectives(text.splitlines())
    moved = hlo.traffic(text, step)
    products = [a * b for a, b in itertools.pairwise(static.sizes)]
    of_weights = sum(moving for moving, shape in moved if math.prod(shape) in [lanes * n for n in products])
    rows = static.batch_size if kind == "steps" else EVALUATION_BATCH if step else 0
    each = 3 * sum(products) - products[0] if kind == "steps" else sum(products)
    shared = 1 if "lanes" in name else devices  # what divides the rows of a batch
    flops, traffic = 2 * each * rows * lanes / shared, sum(moving for moving, _ in moved) / steps
    least = max(flops / (chip.peak[static.precision] * 1e12), traffic / (chip.bandwidth * 1e9)) * 1e6
    peak = sum(
        sign * getattr(memory, f"{what}_size_in_bytes")
        for what, sign in (("argument", 1), ("output", 1), ("alias", -1), ("temp", 1))
    )
    return Row(
        chip=chip.name,
        program=name,
        devices=devices,
        compile_seconds=seconds,
        kernels=round(len(step) / steps),
        flops=flops,
        bytes=traffic,
        copies=of_weights / steps / (static.dtype.itemsize * lanes * sum(products)),
        least_us=least,
        peak_bytes=peak,
        collectives={kind: count // steps for kind, count in within.items()},
        elsewhere=dict(everywhere - within),
        **provenance(),
    )


def compiled(name: str, only: str = "", folder: str = "", skip: int = 0) -> Iterator[Row]:
    """Every program for one chip but the first `skip`, as it is compiled; one that fails is a row with its error."""
    prepare()
    from unittest.mock import patch

    import jax

    from mlp_jax.lanes import fit

    jax.config.update("jax_enable_compilation_cache", False)
    chip = CHIPS[name]
    with patch.object(fit, "put", as_shapes), patch.object(fit, "stack", stacked_shapes):
        programs = [program for program in Programs(chip).all() if only in program[0]]
        for program, devices, make in programs[skip:]:
            print(f"{UNDER_WAY} {devices} {program}", flush=True)
            try:
                start = time.perf_counter()
                found = make()
                static, lanes = found.pop("static"), found.pop("lanes")
                for kind, (executable, seconds) in found.items():
                    if folder:
                        Path(folder, f"{name} {program} {kind}.txt").write_text(executable.as_text())
                    yield row(chip, f"{program}: {kind}", devices, executable, seconds, static, lanes)
            except Exception as error:
                why = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
                yield failed(chip, program, devices, why, time.perf_counter() - start)


def unplanned(row: Row) -> str:
    """In what a compiled program is not as planned, '' if it is."""
    lanes = "lanes" in row.program
    if row.error:
        return row.error
    if row.peak_bytes > 0.9 * memory(row):
        return f"{row.peak_bytes / 1e9:.1f} GB do not fit"
    if row.program.startswith("data:") and row.collectives != {"all-reduce": 1}:
        return f"{told(row.collectives)} in a step; planned is one all-reduce"
    if row.program.startswith("fsdp:") and "all-gather" not in row.collectives:
        return f"{told(row.collectives)} in a step; planned are all-gathers of the weights"
    if (lanes or row.devices == 1) and (row.collectives or row.elsewhere):
        return f"{told(row.collectives)} in a step, {told(row.elsewhere)} elsewhere; planned is nothing"
    most = next((times for precision, times in COPIES.items() if precision in row.program), 10)
    if row.program.startswith(f"{LANES[0]} mixed") and row.copies > most:
        return f"reads and writes the parameters {row.copies:.1f} times a step; planned are {most} at most"
    return ""


def failed(chip: Chip, program: str, devices: int, why: str, seconds: float = 0.0) -> Row:
    """The row of a program that does not compile."""
    return Row(chip.name, program, devices, seconds, 0, *[0.0] * 5, {}, {}, why, **provenance())


def provenance() -> dict[str, str]:
    """What a row was compiled by, and when."""
    packages = ("jax", "libtpu", "jax-cuda12-plugin")
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    return {"versions": versions, "date": time.strftime("%Y-%m-%d")}


def rows_of(name: str, only: str = "", folder: str = "") -> Iterator[Row]:
    """The rows of one chip, from a process of their own; where a program ends that, another goes on behind it."""
    begun: list[str] = []
    code = 1
    while code:
        command = [sys.executable, "-m", "benchmarks.ahead", name, "--rows", f"--only={only}", f"--text={folder}"]
        before = len(begun)
        with Popen([*command, f"--skip={before}"], stdout=PIPE, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("{"):
                    yield Row(**json.loads(line))
                elif line.startswith(UNDER_WAY):
                    begun.append(line.removeprefix(UNDER_WAY).strip())
                    print(f"{CHIPS[name].name}: {line}", end="", file=sys.stderr, flush=True)
        if code := process.returncode:
            devices, _, program = begun[-1].partition(" ") if begun else ("0", "", "all")
            yield failed(CHIPS[name], program, int(devices), f"the compiler's process ended with status {code}")
        if len(begun) == before:
            return


def told(counts: Mapping[str, int]) -> str:
    """Collectives by kind, '-' for none."""
    return " ".join(f"{kind}:{count}" for kind, count in sorted(counts.items())) or "-"


def table(rows: list[Row]) -> str:
    """The rows under each other."""

    lines = [HEADINGS]
    for found in rows:
        if found.error:
            lines.append((found.program, str(found.devices), f"FAILED {found.error}", *[""] * 8))
            continue
        lines.append(
            (
                found.program,
                str(found.devices),
                f"{found.compile_seconds:.1f}",
                str(found.kernels),
                f"{found.flops / 1e6:.1f}",
                f"{found.bytes / 1e6:.2f}",
                f"{found.copies:.1f}",
                f"{found.least_us:.2f}",
                f"{found.peak_bytes / 1e6:.0f}",
                told(found.collectives),
                told(found.elsewhere),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def keep(found: Row) -> None:
    """Puts a row into `RESULT`, in the place of an older one, and the tables of all into `PAGE`."""
    rows = [Row(**row) for row in results.read(RESULT).get("rows", [])]
    rows = [row for row in rows if (row.chip, row.program) != (found.chip, found.program)]
    rows.append(found)
    order = [chip.name for chip in CHIPS.values()]
    rows.sort(key=lambda row: order.index(row.chip))
    results.write(RESULT, {"rows": [row._asdict() for row in rows]})
    results.insert(PAGE, BEGIN, markdown(rows))


def markdown(rows: list[Row]) -> list[str]:
    """The lines of `PAGE`: what one chip does in a step, what several send in one, and the grid's time."""
    chips = [chip.name for chip in CHIPS.values()]
    found = {(row.program, row.chip): row for row in rows}
    count = Counter(row.chip for row in rows)
    programs = dict.fromkeys(row.program for row in sorted(rows, key=lambda row: -count[row.chip]))
    failures = sum(bool(row.error) for row in rows)
    fullest = max(rows, key=lambda row: row.peak_bytes / memory(row))
    lines = [
        f"{len(rows)} programs, {', '.join(sorted({row.date for row in rows}))}, {rows[-1].versions}: {failures} did "
        f"not compile; the one that fills its chip's memory most, {fullest.program} on {fullest.chip}, takes "
        f"{fullest.peak_bytes / memory(fullest):.0%} of it.",
        "",
        "A step of training, or a batch of an evaluation, on one chip: its least µs · how often it reads and writes",
        "the parameters in main memory · kernels. A blank was not compiled.",
    ]

    def add(told: Callable[[Row], str], chosen: list[str]) -> None:
        lines.extend(["", f"| program | {' | '.join(chips)} |", "|" + "---|" * (len(chips) + 1)])
        for program in chosen:
            cells = [found.get((program, chip)) for chip in chips]
            told_cells = ["" if row is None else "FAILED" if row.error else told(row) for row in cells]
            lines.append(f"| {program} | {' | '.join(told_cells)} |")

    def of(several: bool, kinds: tuple[str, ...]) -> list[str]:
        devices = {row.program: row.devices for row in rows}
        bad = {row.program for row in rows if row.error}
        chosen = [name for name in programs if name in bad or name.endswith(kinds)]
        return [name for name in chosen if (devices[name] > 1) == several]

    add(
        lambda row: f"{microseconds(row.least_us)} · {row.copies:.1f} · {row.kernels}", of(False, ("steps", "evaluate"))
    )
    lines += ["", "What several chips send each other in one step (of an end of an epoch: in all of it)."]
    add(
        lambda row: told(Counter(row.collectives) + Counter(row.elsewhere if "end" in row.program else {})),
        of(True, ("steps", "end")),
    )
    estimates = (grid_estimate([row for row in rows if row.chip == chip]) for chip in chips)
    return [*lines, *(line for estimate in estimates if estimate for line in ("", estimate))]


def microseconds(number: float) -> str:
    """Three digits or all of them."""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def memory(row: Row) -> float:
    """Bytes of the chip's main memory."""
    return next(chip.memory for chip in CHIPS.values() if chip.name == row.chip) * 1e9


def grid_estimate(rows: list[Row]) -> str:
    """The 5,832 trainings of the suggested grid on one chip, an estimate from the compiled programs; '' without them.

    A third of them has each batch size B. They train in ⌈1,944/256⌉ chunks for 10 epochs of ⌈54,000/B⌉ steps. By the
    chip's peak and bandwidth a step takes its least time; by launches its kernels, 3 to 5 µs each.
    """
    from benchmarks.grid import EPOCHS, TRAININGS

    steps = {row.program: row for row in rows if not row.error}
    names = {16: "batch 16", 32: "float32", 64: "batch 64"}
    of_batch = {batch: steps.get(f"{LANES[0]} mixed lanes, {name}: steps") for batch, name in names.items()}
    bound, launches = 0.0, 0
    for batch, row in of_batch.items():
        if row is None:
            return ""
        count = math.ceil(TRAININGS / 3 / LANES[0]) * EPOCHS * math.ceil(EXAMPLES / batch)
        bound, launches = bound + count * row.least_us / 1e6, launches + count * row.kernels
    least, most = (launches * us / 1e6 / 60 for us in (3, 5))
    launched = f", {least:.0f} to {most:.0f} by launches of 3 to 5 µs" if rows[0].chip in GPUS else ""
    return (
        f"The {TRAININGS:,} trainings of the suggested grid on one {rows[0].chip}, an estimate from the compiled "
        f"programs, without the ends of epochs: at least {bound / 60:.1f} minutes by bandwidth and peak{launched}."
    )


def main() -> None:
    """Each chip in a process of its own; exit status 1 where a program is not as planned."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ahead", description=__doc__.splitlines()[0])
    parser.add_argument("chips", nargs="*", default=[*CHIPS], help=f"of {', '.join(CHIPS)}")
    parser.add_argument("--only", default="", help="programs whose names hold this")
    parser.add_argument("--text", default="", help="folder for the compiled texts")
    parser.add_argument("--write", action="store_true", help=f"put the chips' rows into {RESULT} and {PAGE}")
    parser.add_argument("--rows", action="store_true", help="one JSON line a program instead of the table")
    parser.add_argument("--skip", type=int, default=0, help="so many programs of the list")
    options = parser.parse_args()
    failures = False
    for name in options.chips:
        if options.rows:
            for found in compiled(name, options.only, options.text, options.skip):
                print(json.dumps(found._asdict()), flush=True)
            continue
        start, rows = time.perf_counter(), []
        for found in rows_of(name, options.only, options.text):
            rows.append(found)
            if options.write:
                keep(found)
        for found in rows:
            if why := unplanned(found):
                failures = True
                print(f"FAILED {found.chip}, {found.program}: {why}", flush=True)
        seconds = time.perf_counter() - start
        print(f"\n{CHIPS[name].name}: compiled for, never run ({seconds:.0f} s)\n{table(rows)}", flush=True)
        print(grid_estimate(rows), flush=True)
    sys.exit(failures)


if __name__ == "__main__":
    main()
