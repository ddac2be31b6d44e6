"""The time that the suggested grid of 11,664 trials would take, from a stratified sample of its shapes.

The sample: a Latin square over layers × width × batch, nine shapes in which each pair of values meets once; optimizers
and activations go round in it. Trials that differ only in their 5 or 10 epochs share a training, so there are 5,832
trainings of 10 epochs of 54,000 examples, by 972 programs (shape, optimizer, activation, λ or none); that the end of an
epoch is compiled once for all optimizers and batch sizes is left out of account.
"""

from statistics import mean
from typing import Any

from benchmarks.jobs import Job
from benchmarks.measure import in_turn
from benchmarks.program import COMPILE_SECONDS, lanes_in_turn

TRAININGS, EPOCHS, PROGRAMS = 5_832, 10, 972
OPTIMIZERS = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "nadam")


def sample(examples: int) -> list[Job]:
    """The nine jobs of the Latin square."""
    jobs = []
    for row, depth in enumerate((3, 4, 5)):
        for column, width in enumerate((32, 64, 128)):
            number = 3 * row + column
            batch = (16, 32, 64)[(row + column) % 3]
            activation = ("sigmoid", "tanh", "relu")[(row + 2 * column) % 3]
            jobs.append(Job(batch, examples, width, depth, OPTIMIZERS[number % 6], "float32", activation))
    return jobs


def estimate(examples: int, repeats: int) -> dict[str, Any]:
    """Hours of the whole grid on this machine, training and compiling apart."""
    import jax

    devices, seconds, compiling = len(jax.devices()), [], []
    for job in sample(examples):
        times = in_turn({"lanes": lanes_in_turn(job)}, repeats)["lanes"]
        seconds.append(min(times) / devices * 54_000 / examples)
        compiling.append(COMPILE_SECONDS[job])
    training = mean(seconds) * TRAININGS * EPOCHS / 3600
    compile_hours = mean(compiling) * PROGRAMS / 3600  # as if one at a time: a compilation uses several cores itself
    return {
        "hours": training + compile_hours,
        "training_hours": training,
        "compile_hours": compile_hours,
        "compile_share": compile_hours / (training + compile_hours),
    }
