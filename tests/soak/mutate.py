"""Mutation testing: small changes to the code, each of which some test has to notice.

    python -m tests.soak.mutate --count=420 --folder=/tmp/mutants
    python -m tests.soak.mutate --folder=/tmp/mutants --only=optimizers:120:17:-

A seeded sample of all mutants of the modules in `TESTS`. Each runs the tests of its module in a fork of one process
that has imported JAX and computed nothing, so that imports are paid once; programs that a mutant leaves as they were
come from the compilation cache. Started again in the same folder, the script goes on. A mutant is killed by a failing
test or by running far longer than all its tests took. Texts and annotations are not mutated.
"""

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from tests.soak import runs

HAND_THROUGH_A_NORM = "mathematics/test_gradients.py::test_hand_equals_autodiff_through_a_norm_of_every_hidden_layer"
GRADIENTS = [
    "mathematics/test_gradients.py::test_lambda_zero_equals_no_term_bit_for_bit",
    "mathematics/test_gradients.py::test_weight_decay_leaves_biases_alone",
    "mathematics/test_gradients.py::test_loss_of_small_weights_is_that_of_guessing[relu]",
    HAND_THROUGH_A_NORM,
    "mathematics/test_gradients.py::test_a_short_batch_divides_by_its_own_size[backprop]",
]
TESTS = {
    "model": [
        "mathematics/test_model.py",
        HAND_THROUGH_A_NORM,
    ],
    "losses": ["mathematics/test_losses.py"],
    "optimizers": ["mathematics/test_optimizers.py"],
    "schedules": ["mathematics/test_schedules.py"],
    "metrics": ["mathematics/test_metrics.py"],
    "gradients": [*GRADIENTS, "mathematics/test_gradients.py::test_both_equal_central_differences_of_numpy"],
    "data.datasets": ["data/test_datasets.py"],
    "data.idx": ["data/test_idx.py"],
    "files.checkpoint": ["files/test_checkpoint.py"],
    "sweeps.study": ["sweeps/test_study.py"],
    "sweeps.journal": ["sweeps/test_study.py"],
    "sweeps.samplers": ["sweeps/test_samplers.py"],
    "sweeps.space": ["sweeps/test_samplers.py", "sweeps/test_dialect.py"],
}
# Of these files' tests, what takes long and says little more about single places of the code.
LEFT_OUT = {
    "optimizers": "(derivative and not adam) or scan_and_vmap or mixed_dtypes",
    "losses": "bfloat16 or lower_precision",
    "sweeps.study": "stays_silent or nothing_slow or another_optuna",
}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.BitXor: ast.BitAnd,
}  # fmt: skip


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """What could stand in the place of a node: (a name for the change, the new node)."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARISONS[type(node.ops[0])]:
            yield other.__name__, ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.BinOp) and not _is_text(node.left):
        yield OPERATORS[type(node.op)].__name__, ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS:
        yield OPERATORS[type(node.op)].__name__, ast.AugAssign(node.target, OPERATORS[type(node.op)](), node.value)
    elif isinstance(node, ast.BoolOp):
        yield "and/or", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.UnaryOp):
        yield "no " + type(node.op).__name__, node.operand
    elif isinstance(node, ast.IfExp | ast.If):
        not_test = ast.UnaryOp(ast.Not(), node.test)
        new = ast.IfExp if isinstance(node, ast.IfExp) else ast.If
        yield "not if", new(not_test, node.body, node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield str(not node.value), ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield "+1", ast.Constant(node.value + 1)
    elif isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Constant):
        yield "return None", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "no call", ast.Pass()
    elif isinstance(node, ast.Raise):
        yield "no raise", ast.Pass()
    elif isinstance(node, ast.Break | ast.Continue):
        yield "pass", ast.Pass()


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def places(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """(parent, field, index in it, node) of all code that is neither a text nor an annotation."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list") or isinstance(value, ast.JoinedStr):
            continue
        if isinstance(tree, ast.If) and getattr(tree.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(tree, ast.Raise) and field == "exc":
            continue  # its words
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield tree, field, index, child
                yield from places(child)


# What the tests import; each fork would pay for it.
MODULES = (
    *("pytest", "_pytest.assertion.rewrite", "hypothesis.extra.numpy", "jax.numpy", "jax.test_util", "rich.progress"),
    *("ml_collections", "optuna", "PIL.Image", "scipy.special", "scipy.stats"),
    *("sklearn.datasets", "sklearn.metrics", "sqlalchemy.dialects.sqlite", "concurrent.futures"),
)
Mutant = tuple[str, str, int, int]  # name, module, number of the place, which of its changes


def mutants(module: str) -> Iterator[Mutant]:
    """Every mutant of a module; a name is module:line:column:change."""
    for number, (_, _, _, node) in enumerate(places(parse(module))):
        for which, (change, _) in enumerate(changes(node)):
            yield f"{module}:{node.lineno}:{node.col_offset}:{change}", module, number, which


def parse(module: str) -> ast.Module:
    return ast.parse((runs.ROOT / "mlp_jax" / f"{module.replace('.', '/')}.py").read_text())


def mutated(mutant: Mutant) -> ast.Module:
    """The code of a mutant."""
    _, module, number, which = mutant
    tree = parse(module)
    parent, field, index, node = next(islice(places(tree), number, None))
    _, new = next(islice(changes(node), which, None))
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
    return ast.fix_missing_locations(tree)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives `mlp_jax.MODULE` the code of a tree."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.name, self.tree = f"mlp_jax.{module}", tree

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        origin = str(runs.ROOT / "mlp_jax" / f"{name.split('.')[-1]}.py")
        return importlib.util.spec_from_loader(name, self, origin=origin) if name == self.name else None

    def exec_module(self, module: Any) -> None:
        module.__file__ = module.__spec__.origin
        exec(compile(self.tree, module.__spec__.origin, "exec"), module.__dict__)


class QuickHypothesis:
    """A pytest plugin: the same examples each time, and no time spent on making a failure smaller."""

    def pytest_collection(self) -> None:
        import jax

        jax.config.update("jax_num_cpu_devices", 1)  # a client of one device starts sooner
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile(
            "mutation", deadline=None, database=None, derandomize=True, max_examples=30, phases=phases
        )
        settings.load_profile("mutation")


def run_tests(module: str, tree: ast.Module, log: Path, seconds: float) -> tuple[str, float]:
    """killed, survived or timeout, and the seconds of processor time."""
    process = os.fork()
    if not process:
        try:
            os.setsid()
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.meta_path.insert(0, Finder(module, tree))
            import pytest

            files = [str(runs.ROOT / "tests" / name) for name in TESTS[module]]
            chosen = ["-k", f"not ({LEFT_OUT[module]})"] if module in LEFT_OUT else []
            options = ["-x", "-q", "--no-header", "--tb=line", "--durations=12", *chosen]
            status = pytest.main([*options, *files], plugins=[QuickHypothesis()])
            os._exit(0 if status == 0 else 1)
        except BaseException:
            os._exit(1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status, used = os.wait4(process, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed", round(used.ru_utime + used.ru_stime, 1)
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return "timeout", seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=420)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--modules", default=",".join(TESTS))
    parser.add_argument("--only", default="", help="the name of one mutant, or the beginnings of several, by commas")
    parser.add_argument("--output", default="")
    options = parser.parse_args()
    base = options.folder.resolve()
    base.mkdir(parents=True, exist_ok=True)
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(base / "hypothesis")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(runs.ROOT)
    everything = [one for module in options.modules.split(",") for one in mutants(module)]
    if options.only:
        chosen = [one for one in everything if one[0].startswith(tuple(options.only.split(",")))]
    else:
        chosen = random.Random(options.seed).sample(everything, min(options.count, len(everything)))
    print(f"{len(chosen)} of {len(everything)} mutants", flush=True)
    _import_what_tests_import()
    seconds: dict[str, float] = {}
    for module in sorted({mutant[1] for mutant in chosen}):
        verdict, seconds[module] = run_tests(module, parse(module), base / f"{module}.log", 900)
        if verdict != "survived":
            raise SystemExit(f"{module}: its tests fail as it is: {base / f'{module}.log'}")
        print(module, seconds[module], flush=True)
    done_path = base / "mutants.jsonl"
    done = {} if options.only or not done_path.exists() else dict(map(json.loads, done_path.read_text().splitlines()))
    for mutant in chosen:
        name, module, *_ = mutant
        if name not in done:
            tree = mutated(mutant)
            done[name], _ = run_tests(module, tree, base / "last.log", 60 + 10 * seconds[module])
            if done[name] == "survived" or options.only:
                print(name, done[name], flush=True)
            if not options.only:
                with open(done_path, "a") as file:
                    file.write(json.dumps([name, done[name]]) + "\n")
    verdicts = [done[name] for name, *_ in chosen]
    result = {
        "mutants": len(chosen), "of": len(everything), "seed": options.seed,
        **{verdict: verdicts.count(verdict) for verdict in ("killed", "timeout", "survived")},
        "survivors": sorted(name for name, *_ in chosen if done[name] == "survived"),
        "processor_seconds_of_tests": seconds, **runs.machine(),
    }  # fmt: skip
    runs.report(result, options.output)
    return 0


def _import_what_tests_import() -> None:
    """Imports only: a fork after a computation of JAX would lack its threads."""
    for name in MODULES:
        importlib.import_module(name)


if __name__ == "__main__":
    raise SystemExit(main())
