"""python -m benchmarks: what the program takes beside its peers, the obvious scan and the machine's own limits.

    python -m benchmarks                       the short form (make bench), compared with benchmarks/results/short.json
    python -m benchmarks --long                also batch 1…4096, width, depth, optimizers, precision, compiled peers
    python -m benchmarks --device=gpu          on an accelerator, with 1 to 4,096 lanes and the whole grid
    python -m benchmarks sweep                 60 trials of the suggested grid, cold, by our sweep and by the peers'
    python -m benchmarks sweep --device=gpu    the whole grid on an accelerator
    python -m benchmarks --parts=batch,lanes   some of it; with --write the others keep their figures
    python -m benchmarks --write               writes the JSON, and the tables and plots of docs/performance.md

Random images, 784-128×3-10, ReLU, Adam, float32, unless a table says otherwise. Contestants take turns, so that a drift
of the machine meets all alike. Peers that are not installed (benchmarks/requirements.txt) are named as not measured.
"""

import argparse
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import reach, results
from benchmarks.jobs import Job
from benchmarks.measure import Epoch, bandwidth, beside_peak, busy_cores, in_turn, summary
from benchmarks.sweep import CONTESTANTS

HERE = Path(__file__).parent
SHORT = ("start-up", "memory", "batch", "lanes", "estimator", "grid")
PARTS = {
    "short": SHORT,
    "long": (*SHORT, "scaling"),
    "sweep": tuple(CONTESTANTS),
    "gpu": ("batch", "lanes", "scaling", "whole-grid"),
}
EXAMPLES = {1: 2_000, 32: 16_000, 256: 25_600}  # of an epoch in the short form; figures are scaled to 54,000
MORE_ROUNDS = 3  # times --repeats where an epoch is short: the shorter, the more of it a disturbance spoils


def contest(batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """The program, the obvious scan and the peers at one batch size."""
    from benchmarks.peers import COMPILED_PEERS, PEERS
    from benchmarks.program import COMPILE_SECONDS, obvious, one_lane

    examples = 54_000 if options.long and batch > 1 else EXAMPLES[batch]
    job = Job(batch, int(options.share * examples) // batch * batch)
    runners: dict[str, Epoch] = {"ours": one_lane(job), "obvious scan": obvious(job)}
    absent = {}
    peers = PEERS | COMPILED_PEERS if options.long else PEERS
    for name, make in peers.items() if options.device == "cpu" else ():
        try:
            if name in options.without.split(","):
                raise ImportError("left out")
            runners[name] = make(job)
        except ImportError as error:
            absent[name] = {"absent": str(error)}
    rounds = options.repeats * (MORE_ROUNDS if batch > 1 else 1)
    rows = summary(in_turn(runners, rounds), "ours", 54_000 / job.examples)
    for row in rows.values():
        row["samples_per_second"] = 54_000 / row["seconds"]
        row["gflops"] = job.flops / job.examples * 54_000 / row["seconds"] / 1e9
        row["rounds"], row["examples"] = rounds, job.examples
    rows["ours"]["compile"] = COMPILE_SECONDS[job]
    torch = [row for name, row in rows.items() if name.startswith("PyTorch")]
    best = {"PyTorch best": min(torch, key=lambda row: row["seconds"])} if torch else {}
    return rows | best | absent


def lanes_on_cpu(options: argparse.Namespace) -> dict[str, float]:
    """Time of each peer as a multiple of a lane's share of the time of a lane a core at once."""
    import jax

    from benchmarks.peers import PEERS
    from benchmarks.program import lanes_in_turn, one_lane

    job, count = Job(32, int(options.share * EXAMPLES[32]) // 32 * 32), len(jax.devices())
    runners = {"lanes": lanes_in_turn(job), "alone": one_lane(job)}
    for name in ("Keras 3 on JAX", "PyTorch eager, 1 thread", "PyTorch eager, 2 threads"):
        try:
            runners[name] = PEERS[name](job)
        except ImportError as error:
            print(f"{name}: not measured: {error}")
    rows = summary(in_turn(runners, options.repeats * MORE_ROUNDS), "lanes")
    ratios = {name: count * row["times_ours"] for name, row in rows.items() if name != "lanes"}
    torch = [ratio for name, ratio in ratios.items() if name.startswith("PyTorch")]
    best = {"PyTorch best": min(torch)} if torch else {}
    return {"seconds_per_net": rows["lanes"]["seconds"] / count * 54_000 / job.examples, **ratios, **best}


def lanes_on_accelerator(options: argparse.Namespace) -> dict[str, Any]:
    """Populations of 1 to 4,096 lanes: seconds an epoch of a net, shares of matrix peak and of memory bandwidth."""
    from benchmarks.program import COMPILE_SECONDS, lanes_side_by_side

    limit, table = bandwidth(), {}
    for count in (1, 4, 16, 64, 256, 1024, 4096):
        job = Job(32, 54_000 if count <= 64 else 3_200)
        seconds = min(in_turn({"lanes": lanes_side_by_side(job, count)}, options.repeats)["lanes"])
        weights = sum(a * b for a, b in zip(job.sizes[:-1], job.sizes[1:], strict=True))
        # Of a step at least: w, m and v read and written, w read twice more by the products, the gradient both ways.
        traffic = 4 * weights * 10 * count * job.examples / job.batch
        table[str(count)] = {
            "seconds_per_net": seconds / count * 54_000 / job.examples,
            "gflops": job.flops * count / seconds / 1e9,
            "share_of_bandwidth": traffic / seconds / 1e9 / limit,
            "compile": COMPILE_SECONDS[job],
        }
        print(count, table[str(count)], flush=True)
    return table


def estimator(options: argparse.Namespace, epochs: int = 10) -> dict[str, Any]:
    """`Classifier.fit` beside as many epochs of the run alone, and beside the `fit` of Keras and of scikit-learn."""
    from benchmarks.jobs import data
    from benchmarks.peers import PEERS
    from benchmarks.program import one_lane
    from mlp_jax import Classifier

    job = Job(32, int(options.share * 54_000) // 32 * 32)
    images, labels = data(job.examples)
    model = Classifier(hidden_sizes=(job.width,) * job.depth, batch_size=job.batch, num_epochs=epochs)
    made: dict[str, Epoch] = {"the run's epochs": one_lane(job), "Classifier.fit": lambda: model.fit(images, labels)}
    for name in ("Keras 3 on JAX", "scikit-learn"):
        try:
            made[name] = PEERS[name](job)
        except ImportError as error:
            print(f"{name}: not measured: {error}")

    def often(epoch: Epoch) -> Epoch:
        def fit() -> None:
            for _ in range(epochs):
                epoch()

        return fit

    runners = {name: epoch if name == "Classifier.fit" else often(epoch) for name, epoch in made.items()}
    slow = runners.pop("scikit-learn", None)
    rows = summary(in_turn(runners, options.repeats), "the run's epochs")
    if slow is not None:  # minutes: once, one epoch
        seconds = in_turn({"scikit-learn": made["scikit-learn"]}, 1)["scikit-learn"][0] * epochs
        rows["scikit-learn"] = {"seconds": seconds, "times_ours": seconds / rows["the run's epochs"]["seconds"]}
    return rows


def scaling(options: argparse.Namespace) -> dict[str, Any]:
    """The program over batch, width, depth, optimizer and precision, one at a time."""
    from benchmarks.program import COMPILE_SECONDS, one_lane

    jobs = [Job(batch=2**n) for n in range(0, 13, 2)] + [Job(width=2**n) for n in range(5, 12)]
    jobs += [Job(depth=depth) for depth in (1, 2, 4, 8)] + [Job(precision="bfloat16")]
    jobs += [Job(optimizer=name) for name in ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")]
    table = {}
    for job in dict.fromkeys(jobs):
        budget = 2e10 if options.device == "cpu" else 1e13
        steps = max(4, min(54_000 // job.batch, int(budget / (job.flops / job.examples * job.batch + 4e6))))
        job = job._replace(examples=min(54_000, steps * job.batch))
        seconds = min(in_turn({"ours": one_lane(job)}, options.repeats)["ours"])
        name = f"batch {job.batch}, width {job.width}, depth {job.depth}, {job.optimizer}, {job.precision}"
        table[name] = {
            "us_per_sample": seconds / job.examples * 1e6,
            "gflops": job.flops / seconds / 1e9,
            "compile": COMPILE_SECONDS[job],
        }
    return table


def whole_grid() -> dict[str, float]:
    """Wall seconds of configs/sweep_assignment.py with its study and files, on the data in MLP_JAX_DATA_DIR."""
    import subprocess
    import tempfile

    from benchmarks.grid import TRAININGS
    from mlp_jax.runs.defaults import get_config

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = [sys.executable, "main.py", "--config=configs/sweep_assignment.py", f"--workdir={folder}/sweep"]
        environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache", "MLP_JAX_DATA_DIR": get_config().data_dir}
        subprocess.run(command, check=True, cwd=HERE.parent, env=environment)
        seconds = time.perf_counter() - start
    print(f"{TRAININGS} trainings in {seconds / 60:.1f} minutes")
    return {"seconds": seconds, "trainings": TRAININGS, "models_per_hour": 3600 * TRAININGS / seconds}


def measure(part: str, options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Puts one part's figures into `result`."""
    from benchmarks import processes

    accelerator = options.device != "cpu"
    if part == "start-up":
        result["start-up"] = processes.start_up(min(options.repeats, 2))
    elif part == "memory":
        result["memory"] = {"run": processes.peak_memory()}
    elif part == "batch":
        for batch in map(int, options.batches.split(",")):
            result[f"batch {batch}"] = beside_peak(partial(contest, batch, options))
            print(*results.contestants({f"batch {batch}": result[f"batch {batch}"]}), sep="\n", flush=True)
    elif part == "lanes":
        lanes = partial(lanes_on_accelerator, options)
        result["lanes"] = beside_peak(lanes) if accelerator else lanes_on_cpu(options)
    elif part == "estimator":
        result["estimator"] = estimator(options)
        for name, row in result["estimator"].items():
            print(f"{name}: {row['seconds']:.2f} s, {row['times_ours']:.2f} of the run's epochs")
    elif part in CONTESTANTS:
        from benchmarks import sweep

        row = {CONTESTANTS[part][0]: sweep.measure(part, options.trials, options.examples)}
        result["sweep"] = sweep.beside_ours(result.get("sweep", {}) | row)
    elif part == "grid":
        from benchmarks.grid import estimate

        result["grid"] = estimate(3_200, 1)
    elif part == "scaling":
        result["scaling"] = beside_peak(partial(scaling, options))
    else:
        result["whole-grid"] = whole_grid()


def machine(device: str) -> dict[str, Any]:
    """Device, cores and versions."""
    import jax

    from mlp_jax.runs.runtime import describe

    told = describe()
    return {
        "device": told["device"],
        "cores": told["threads"],
        "jax": jax.__version__,
        "python": platform.python_version(),
        "load": f"{busy_cores():.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("sweep",), help="the sweep beside its peers, and nothing else")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--parts", default="", help="; ".join(f"{k}: {', '.join(v)}" for k, v in PARTS.items()))
    parser.add_argument("--batches", default="1,32,256", help="of the part batch")
    parser.add_argument("--share", type=float, default=1.0, help="of the examples of an epoch, for a busy machine")
    parser.add_argument("--without", default="", help="peers to leave out, by commas")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60, help="of the sweep")
    parser.add_argument("--examples", type=int, default=60_000, help="of the sweep's data; validation takes a tenth")
    parser.add_argument("--write", action="store_true", help="benchmarks/results/*.json and docs/performance.md")
    parser.add_argument("--json", default="", help="file for the figures")
    options = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu" if options.device == "cpu" else "")
    import jax

    from mlp_jax.runs import config, runtime

    cores = min(runtime.usable_cores(), 2)
    if options.device == "cpu":
        jax.config.update("jax_num_cpu_devices", cores)
    runtime.prepare(config.complete({"mesh": f"lanes:{cores}" if options.device == "cpu" else ""}))
    if options.device == "gpu" and jax.devices()[0].platform == "cpu":
        sys.exit("python -m benchmarks: --device=gpu: JAX finds no accelerator")
    name = "gpu" if options.device == "gpu" else options.what or ("long" if options.long else "short")
    if options.device == "gpu" and options.what:
        options.parts = "whole-grid"
    parts = tuple(options.parts.split(",")) if options.parts else PARTS[name]
    if unknown := set(parts) - set(PARTS["long" if name == "short" else name]):
        sys.exit(f"python -m benchmarks: --parts: {', '.join(sorted(unknown))}: allowed are {', '.join(PARTS[name])}")
    committed = HERE / "results" / f"{name}.json"
    earlier = results.read(committed)
    kept = earlier if options.parts and options.write else {}
    result: dict[str, Any] = kept | {"machine": machine(options.device)}
    loads = [float(part["machine"]["load"] or 0) for part in (kept, result) if part]
    result["machine"]["load"] = f"{max(loads):.1f}"  # a result made in pieces is as good as its worst
    result["measured"] = dict(kept.get("measured", {}))
    when = f"{runtime.describe()['commit']}, {time.strftime('%Y-%m-%d')}"
    for part in parts:
        print(f"{part} …", flush=True)
        measure(part, options, result)
        result["measured"][part] = when
        if options.json:
            results.write(Path(options.json), result)
        if options.write:
            results.write(committed, result)
    if options.device == "cpu":
        print(*reach.table(result), sep="\n")
        print(*reach.fallen(result, earlier), sep="\n")
    if options.write and name in results.BEGIN:
        results.publish(name, result)


if __name__ == "__main__":
    main()
