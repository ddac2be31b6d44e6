"""The code of a submission: read without running it, then imported beside stand-ins for what it only logs with."""

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# What submissions import for data, logs and pictures. A stand-in takes any call and does nothing: importing the real
# ones takes seconds, reaches for the network, or fails where they are absent.
STAND_INS = frozenset(
    {
        "wandb",
        "matplotlib",
        "seaborn",
        "plotly",
        "keras",
        "tensorflow",
        "torch",
        "torchvision",
        "sklearn",
        "tqdm",
        "pandas",
        "dotenv",
        "datasets",
        "requests",
        "tensorboard",
        "cv2",
        "PIL",
        "IPython",
    }
)
LEFT_OUT = frozenset({"train", "inference", "sweep", "setup", "conftest", "test", "tests", "main", "run_sweep"})
MOST_BYTES = 1_000_000  # of a Python file that is read


class _Anything:
    """Takes any attribute, call, index and loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and callable(args[0]) else _Anything()

    def __getitem__(self, key: Any) -> Any:
        raise IndexError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *args: Any) -> None:
        return None

    def __bool__(self) -> bool:
        return False


class _StandIn(types.ModuleType):
    run = None  # wandb.run: there is none
    __path__: list[str] = []  # noqa: RUF012  # a package: its submodules are stand-ins, too

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.__name__.split(".")[0] == "tqdm":
            return lambda items=(), *args, **kwargs: items
        return type(name, (_Anything,), {}) if name[:1].isupper() else _Anything()


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] in STAND_INS:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


class Source(NamedTuple):
    """A Python file as it says of itself: its functions and its classes with their methods; not yet run."""

    path: Path
    functions: dict[str, ast.FunctionDef]
    classes: dict[str, tuple[str, ...]]
    names: frozenset[str]  # what is assigned at its top level


def read(path: Path) -> Source:
    """Raises SyntaxError, UnicodeDecodeError (a ValueError), OSError."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES:,} bytes")
    body = ast.parse(path.read_text(encoding="utf-8-sig")).body
    functions = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    classes = {
        node.name: tuple(part.name for part in node.body if isinstance(part, ast.FunctionDef))
        for node in body
        if isinstance(node, ast.ClassDef)
    }
    targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    return Source(path, functions, classes, frozenset(t.id for t in targets if isinstance(t, ast.Name)))


def python_files(path: Path) -> list[Path]:
    """The file itself, or the Python files of a folder that define things: no programs, tests or hidden folders."""
    if path.is_file():
        return [path]
    found = sorted(path.rglob("*.py"), key=lambda file: (len(file.parts), file))
    inside = [file for file in found if not any(p.startswith((".", "_")) for p in file.relative_to(path).parts[:-1])]
    return [file for file in inside if file.stem not in LEFT_OUT and not file.stem.startswith(("test_", "__"))][:60]


@contextmanager
def importing(root: Path) -> Iterator[None]:
    """Inside, stand-ins are in place and modules come from `root`; after it, nothing of it is left in this process."""
    before, paths, argv, finder = set(sys.modules), list(sys.path), sys.argv, _Finder()
    hidden = {name: module for name, module in sys.modules.items() if name.split(".")[0] in STAND_INS}
    for name in hidden:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    sys.argv = ["check"]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:], sys.argv = paths, argv
        for name in set(sys.modules) - before:
            module = sys.modules[name]
            file = getattr(module, "__file__", None) or ""
            where = [str(part) for part in getattr(module, "__path__", None) or ()]
            if isinstance(module, _StandIn) or any(str(root) in part for part in (file, *where)):
                del sys.modules[name]
        sys.modules.update(hidden)


def import_file(path: Path, root: Path) -> types.ModuleType:
    """Imports a file as its own program would: by the folder that holds its package, or by `root`, or by itself.

    The caller is inside `importing(root)`. Raises what the import raises.
    """
    root = root if root.is_dir() else root.parent
    parts = path.relative_to(root).with_suffix("").parts
    for folder in (path.parent, *(root.joinpath(*parts[:n]) for n in range(len(parts) - 1, -1, -1))):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))  # the outermost comes first
    # src/ann/x.py is ann.x where src is what a program puts on its path; else src.ann.x, else x.
    names = [".".join(parts[n:]) for n in (1, 0, len(parts) - 1) if 0 <= n < len(parts)] if len(parts) > 1 else []
    error: Exception | None = None
    for name in dict.fromkeys(names):
        if not all(part.isidentifier() for part in name.split(".")):
            continue
        try:
            module = importlib.import_module(name)
        except ImportError as missing:
            error = error if error and missing.name in (name, name.split(".")[0]) else missing
            continue
        if Path(getattr(module, "__file__", "") or "").resolve() == path.resolve():
            return module
    if error and len(parts) > 1:
        raise error
    name = f"_checked_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
