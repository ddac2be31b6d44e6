"""Bad input: one line on stderr that names the thing, exit status 2, nothing written.

A case is (arguments, words that the line has to hold). It runs in an empty folder that `prepare` has filled.
"""

import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import main
from configs import default
from mlp_jax.errors import Diverged, Interrupted, UserError
from mlp_jax.runs import config as configs
from mlp_jax.runs import run as experiment
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.training import small_config

ROOT = Path(__file__).parents[2]
ASSIGNMENT = f"--config={ROOT}/configs/assignment.py"


def prepare() -> None:
    """In the current folder: a stored run, damaged ones, config files that are none, a folder without archives."""
    Path("file").write_text("x")
    Path("broken.py").write_text("def get_config(:")
    Path("empty.py").write_text("")
    Path("raises.py").write_text("def get_config():\n    raise RuntimeError('two\\nlines')\n")
    Path("unknown.py").write_text("def get_config():\n    return {'lerning_rate': 1}\n")
    Path("no_archives").mkdir()
    text = configs.to_json(default.get_config())
    stored = {
        "run": text,
        "cut": text[:100],
        "other_field": text.replace('"seed"', '"sede"'),
        "other_value": text.replace('"adam"', '"adamw"'),
        "other_type": text.replace('"seed": 0', '"seed": "0"'),
        "a_list": "[]",
        "not_utf8": "",
    }
    for name, content in stored.items():
        Path(name).mkdir()
        (Path(name) / "config.json").write_text(content)
    Path("not_utf8/config.json").write_bytes(b"\xff\xfe\x00")
    Path("nothing").mkdir()
    for name, sweep in SWEEPS_IN_FILES.items():
        Path(f"sweep_{name}.py").write_text(
            f"def get_config():\n    return {{'dataset': 'digits', 'sweep': {sweep!r}}}\n"
        )


FLAGS = [
    (["--wrkdir=x"], "--wrkdir --workdir"),
    (["--epochs=3"], "--epochs --config.FIELD"),
    (["-b", "32"], "-b --config.FIELD"),
    (["--undefok=foo", "--foo"], "--undefok"),
    (["--flagfile=file"], "--flagfile"),
    (["--noconfig.probes"], "--noconfig.probes --config"),
    (["--mode=trian"], "--mode 'trian' evaluate did you mean train?"),
    (["--mode="], "--mode '' train"),
    (["--mode"], "--mode"),
    (["--workdir="], "--workdir ''"),
    (["--workdir"], "--workdir"),
    (["--config="], "--config ''"),
    (["--config= "], "--config ' '"),
    (["stray"], "'stray' --FLAG=VALUE"),
    (["--", "--mode=train"], "'--mode=train'"),
    (["-"], "'-'"),
    (["--inputs=file"], "--inputs --mode=train predict"),
    (["--output=x"], "--output --mode=train best"),
    (["--mode=gradcheck", "--workdir=run"], "--workdir --mode=gradcheck"),
    (["--mode=evaluate", "--workdir=run", "--config=broken.py"], "--config --mode=evaluate train"),
    (["--mode=predict", "--workdir=run"], "--inputs --mode=predict"),
    (["--mode=predict", "--workdir=run", "file"], "'file'"),
    (["--mode=predict", "--workdir=run", "--inputs="], "--inputs ''"),
    (["--nohelp=1"], "--nohelp"),
]
FIELDS = [
    (["--config.lerning_rate=1"], "'lerning_rate' did you mean learning_rate?"),
    (["--config.lr=1"], "'lr' learning_rate"),
    (["--config.=1"], "--config."),
    (["--config.learning_rate"], "learning_rate a number"),
    (["--config.learning_rate="], "learning_rate '' a number"),
    (["--config.learning_rate=fast"], "learning_rate 'fast' a number"),
    (["--config.learning_rate", "fast"], "learning_rate 'fast' a number"),
    (["--config.learning_rate=0"], "learning_rate 0.0 above 0"),
    (["--config.learning_rate=-0.1"], "learning_rate -0.1 above 0"),
    (["--config.learning_rate", "-0.1"], "learning_rate -0.1 above 0"),
    (["--config.learning_rate=nan"], "learning_rate nan"),
    (["--config.learning_rate=inf"], "learning_rate inf"),
    (["--config.seed=1.5"], "seed '1.5' a whole number"),
    (["--config.seed=-1"], "seed -1 4294967295"),
    (["--config.seed=4294967297"], "seed 4294967297 4294967295"),
    (["--config.seeds=0"], "seeds 0 from 1"),
    (["--config.seed=4294967295", "--config.seeds=2"], "seeds 2 at most 1"),
    (["--config.stratified=maybe"], "stratified 'maybe' true or false"),
    (["--config.probes", "run"], "probes 'run' true or false"),
    (["--config.hidden_sizes=128,x"], "hidden_sizes 'x' whole numbers"),
    (["--config.hidden_sizes=0"], "hidden_sizes 0 whole numbers"),
    (["--config.hidden_sizes=99999999"], "hidden_sizes 99999999 1048576"),
    (["--config.optimizer=adem"], "optimizer 'adem' nesterov did you mean adam?"),
    (["--config.optimizer="], "optimizer '' nadam"),
    (["--config.activation=ReLU"], "activation 'ReLU' relu"),
    (["--config.init=xaver"], "init 'xaver' did you mean xavier?"),
    (["--config.loss=ce"], "loss 'ce' cross_entropy mse"),
    (["--config.schedule=linear"], "schedule 'linear' cosine"),
    (["--config.gradient=manual"], "gradient 'manual' backprop"),
    (["--config.precision=float16"], "precision 'float16' bfloat16"),
    (["--config.tracker=wand"], "tracker 'wand' did you mean wandb?"),
    (["--config.resume=yes"], "resume 'yes' strict"),
    (["--config.mesh=8"], "mesh '8' data:N"),
    (["--config.dropout_rate=1"], "dropout_rate 1.0 below 1"),
    (["--config.val_fraction=1"], "val_fraction 1.0 below 1"),
    (["--config.beta2=1"], "beta2 1.0 below 1"),
    (["--config.momentum=-0.5"], "momentum -0.5"),
    (["--config.eps=0"], "eps 0.0 above 0"),
    (["--config.weight_decay=-1"], "weight_decay -1.0 from 0"),
    (["--config.batch_size=-1"], "batch_size -1 from 0"),
    (["--config.num_epochs=0"], "num_epochs 0 from 1"),
    (["--config.early_stopping=2", "--config.val_fraction=0"], "early_stopping 2 val_fraction=0"),
    (["--config.warmup_epochs=10"], "warmup_epochs 10.0 num_epochs=10"),
    (["--config.sweep.method=grid"], "'sweep.method'"),
    (["--config.wandb_project=a\nb"], "wandb_project control characters"),
    (["--config.optimizer=a\nb"], "optimizer control characters"),
    (["--config.a\nb=1"], "'a\\nb' does not exist"),
]
FILES = [
    (["--config=configs/adm.py"], "'configs/adm.py'"),
    (["--config=brokn.py"], "'brokn.py' did you mean broken.py?"),
    (["--config=nothing"], "'nothing'"),
    (["--config=broken.py"], "broken.py SyntaxError"),
    (["--config=file"], "file"),
    (["--config=empty.py"], "empty.py get_config()"),
    (["--config=raises.py"], "raises.py RuntimeError two lines"),
    (["--config=unknown.py"], "unknown.py 'lerning_rate' did you mean learning_rate?"),
    (["--config.dataset=fashion_mist"], "dataset 'fashion_mist' did you mean fashion_mnist?"),
    (["--config.dataset=./nowhere"], "dataset nowhere"),
    (["--config.dataset=./file"], "dataset file"),
    (["--config.dataset=no_archives"], "dataset no_archives train-images-idx3-ubyte"),
    (["--config.fallback_dataset=digit"], "fallback_dataset 'digit' did you mean digits?"),
    (["--config.data_dir="], "data_dir ''"),
    ([f"--config={ROOT}/configs/assigment.py"], "assigment.py did you mean assignment.py?"),
    ([ASSIGNMENT, "--config.experiments=losse"], "experiments 'losse' samples batches did you mean losses?"),
    ([ASSIGNMENT, "--config.experiments="], "experiments () samples"),
    ([ASSIGNMENT, "--config.budget=ful"], "budget 'ful' quick did you mean full?"),
    ([ASSIGNMENT, "--config.num_epochs=5"], "num_epochs 5 10: budget"),
]
WORKDIRS = [
    (["--mode=evaluate"], "--workdir '' config.json"),
    (["--mode=evaluate", "--workdir=nothing"], "--workdir 'nothing' config.json"),
    (["--mode=report", "--workdir=file"], "--workdir 'file' config.json"),
    (["--mode=best", "--workdir=nowhere"], "--workdir 'nowhere' config.json"),
    (["--mode=predict", "--workdir=nothing", "--inputs=file"], "--workdir 'nothing' config.json"),
    (["--workdir=cut"], "cut/config.json not JSON"),
    (["--workdir=not_utf8"], "not_utf8/config.json not JSON"),
    (["--workdir=a_list"], "a_list/config.json list"),
    (["--workdir=other_field"], "other_field/config.json 'sede' did you mean seed?"),
    (["--workdir=other_value"], "other_value/config.json optimizer 'adamw'"),
    (["--mode=evaluate", "--workdir=other_type"], "other_type/config.json seed '0' a whole number"),
    (["--workdir=run", "--config.learning_rate=0.5"], "run learning_rate 0.001 0.5 resume=changed resume=never"),
    (["--workdir=run", f"--config={ROOT}/configs/sgd.py"], "run learning_rate optimizer 'adam' 'sgd'"),
    (["--workdir=run", "--config.num_epochs=3"], "run num_epochs 10 3"),
    (["--workdir=run", "--config.resume=changed", "--config.seed=1"], "run seed resume=never"),
    (["--workdir=run/config.json", "--config.dataset=digits"], "run/config.json a file is in the way"),
    (["--workdir=/proc/x", "--config.dataset=digits"], "/proc/x"),
]


def idx_header(*shape: int, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def damaged_archives(folder: Path) -> None:
    """A folder of four IDX files for each way in which one of them can be wrong."""
    arrays = make_arrays(num_train=40, num_test=12)
    changes = {
        "no_labels": lambda at: (at / "train-labels-idx1-ubyte").unlink(),
        "cut": lambda at: os.truncate(at / "train-images-idx3-ubyte", 700),
        "cut_header": lambda at: os.truncate(at / "t10k-images-idx3-ubyte", 9),
        "long": lambda at: (at / "t10k-labels-idx1-ubyte").open("ab").write(b"x"),
        "text": lambda at: (at / "train-images-idx3-ubyte").write_text("<html>404</html>" * 9),
        "floats": lambda at: (at / "train-images-idx3-ubyte").write_bytes(idx_header(1, 1, 1, kind=13)),
        "billions": lambda at: (at / "train-images-idx3-ubyte").write_bytes(
            struct.pack(">HBB3I", 0, 8, 3, 2**31, 28, 28)
        ),
        "bomb": lambda at: (at / "train-images-idx3-ubyte").write_bytes(gzip.compress(bytes(1 << 22), mtime=0)),
        "half_gzip": lambda at: (at / "train-images-idx3-ubyte").write_bytes(gzip.compress(b"x" * 99, mtime=0)[:-9]),
        "swapped": lambda at: os.replace(at / "train-labels-idx1-ubyte", at / "train-images-idx3-ubyte"),
        "pipe": lambda at: ((at / "t10k-labels-idx1-ubyte").unlink(), os.mkfifo(at / "t10k-labels-idx1-ubyte")),
    }
    for name, change in changes.items():
        write_idx_folder(folder / name, arrays)
        change(folder / name)


SWEEPS_IN_FILES = {
    "method": {"method": "gird", "parameters": {"seed": {"values": [1]}}},
    "no_method": {"parameters": {"seed": {"values": [1]}}},
    "field": {"method": "grid", "parameters": {"lerning_rate": {"values": [0.1]}}},
    "value": {"method": "grid", "parameters": {"optimizer": {"values": ["adem"]}}},
    "none": {"method": "grid", "parameters": {"optimizer": {"values": []}}},
    "endless": {"method": "grid", "parameters": {"learning_rate": {"min": 0.1, "max": 0.2}}},
    "no_cap": {"method": "random", "parameters": {"learning_rate": {"min": 0.1, "max": 0.2}}},
    "empty_range": {"method": "random", "run_cap": 3, "parameters": {"learning_rate": {"min": 0.2, "max": 0.1}}},
    "metric": {"method": "grid", "metric": {"name": "f1"}, "parameters": {"seed": {"values": [1]}}},
    "goal": {"method": "grid", "metric": {"goal": "best"}, "parameters": {"seed": {"values": [1]}}},
    "stop": {"method": "grid", "early_terminate": {"type": "median"}, "parameters": {"seed": {"values": [1]}}},
    "key": {"method": "grid", "paramters": {"seed": {"values": [1]}}},
    "right": {"method": "grid", "parameters": {"seed": {"values": [1]}}},
}


ARCHIVES = [
    (["--config.dataset=./no_labels"], "no_labels train-labels-idx1-ubyte"),
    (["--config.dataset=./cut"], "cut/train-images-idx3-ubyte cut short"),
    (["--config.dataset=./cut_header"], "cut_header/t10k-images-idx3-ubyte header"),
    (["--config.dataset=./long"], "long/t10k-labels-idx1-ubyte longer 12"),
    (["--config.dataset=./text"], "text/train-images-idx3-ubyte not an IDX file"),
    (["--config.dataset=./floats"], "floats/train-images-idx3-ubyte 0x0d 0x08"),
    (["--config.dataset=./billions"], "billions/train-images-idx3-ubyte 2147483648×28×28 more than"),
    (["--config.dataset=./bomb"], "bomb/train-images-idx3-ubyte"),
    (["--config.dataset=./half_gzip"], "half_gzip/train-images-idx3-ubyte"),
    (["--config.dataset=./swapped"], "swapped train-labels-idx1-ubyte"),
    (["--config.dataset=./pipe"], "pipe t10k-labels-idx1-ubyte"),
]
SWEEPS = [
    (["--config=sweep_method.py"], "sweep.method 'gird' did you mean grid?"),
    (["--config=sweep_no_method.py"], "sweep.method '' grid, random, bayes"),
    (["--config=sweep_field.py"], "'lerning_rate' did you mean learning_rate?"),
    (["--config=sweep_value.py"], "'adem' did you mean adam?"),
    (["--config=sweep_none.py"], "sweep.parameters.optimizer"),
    (["--config=sweep_endless.py"], "sweep.parameters.learning_rate a grid over a continuous range"),
    (["--config=sweep_no_cap.py"], "sweep.run_cap"),
    (["--config=sweep_empty_range.py"], "sweep.parameters.learning_rate min=0.2 max=0.1"),
    (["--config=sweep_metric.py"], "sweep.metric 'f1'"),
    (["--config=sweep_goal.py"], "sweep.metric 'best' maximize"),
    (["--config=sweep_stop.py"], "sweep.early_terminate.type 'median' hyperband"),
    (["--config=sweep_key.py"], "sweep 'paramters' did you mean parameters?"),
    (["--config=sweep_right.py", "--config.sweep.run_cap=many"], "sweep.run_cap 'many' a whole number"),
    (["--config=sweep_right.py", "--config.sweep=3"], "'sweep' only its parts"),
    (["--config=sweep_right.py", "--config.storage=mysql://me:hunter2@host/db"], "storage 'mysql' postgresql"),
    (
        ["--config=sweep_right.py", "--config.storage=postgresql://me:hunter2@127.0.0.1:1/db"],
        "storage cannot be reached",
    ),
    (["--mode=best", "--workdir=run"], "--workdir 'run' no finished sweep best.json"),
]
PREDICT = [
    (["--inputs=none.png"], "--inputs 'none.png'"),
    (["--inputs=file"], "--inputs 'file'"),
    (["--inputs=nothing"], "--inputs 'nothing'"),
    (["--inputs=text.npy"], "--inputs 'text.npy'"),
    (["--inputs=text.png"], "--inputs 'text.png'"),
    (["--inputs=shape.npy"], "--inputs 'shape.npy' (2, 5, 5) 6"),
    (["--inputs=negative.npy"], "--inputs 'negative.npy' int64"),
    (["--inputs=nan.npy"], "--inputs 'nan.npy' float64"),
    (["--inputs=objects.npy"], "--inputs 'objects.npy' .npy"),
    (["--inputs=right.npy", "none.npy"], "--inputs 'none.npy'"),
    (["--inputs=*.jpeg"], "--inputs '*.jpeg'"),
]


def everything_here() -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path.cwd().rglob("*")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLP_JAX_DATA_DIR", str(tmp_path / "no_archives"))
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")  # as conftest chose: JAX has begun, and a sweep would choose anew
    prepare()
    return tmp_path


def names(cases):
    return pytest.mark.parametrize(("arguments", "words"), cases, ids=[" ".join(case[0]) for case in cases])


@names(FLAGS + FIELDS + FILES + WORKDIRS)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, arguments, words):
    is_one_line(capsys, arguments, words)


def is_one_line(capsys, arguments, words):
    before = everything_here()
    assert main.main(["main.py", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("main.py: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "hunter2" not in err  # a planted password
    missing = [word for word in words.split(" ") if word not in err]
    assert not missing, err
    assert everything_here() == before


@names(ARCHIVES)
def test_a_damaged_archive_is_one_line_and_leaves_nothing(folder, capsys, arguments, words):
    damaged_archives(folder)
    is_one_line(capsys, arguments, words)


@names(SWEEPS)
def test_a_sweep_that_makes_no_sense_is_one_line_and_leaves_nothing(folder, capsys, arguments, words):
    is_one_line(capsys, arguments, words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs on pictures of 6 × 6."""
    at = tmp_path_factory.mktemp("trained")
    write_idx_folder(at / "patterns", make_arrays(num_train=40, num_test=12))
    config = small_config(dataset=str(at / "patterns"), hidden_sizes=(4,), num_epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.report, "write_run_plots", lambda folder: None)
        patch.setattr(experiment.report, "write_run_report", lambda *arguments: None)
        experiment.run(config, at / "run")
    return at / "run"


@names(PREDICT)
def test_a_picture_that_is_none_is_one_line_and_leaves_nothing(folder, trained, capsys, arguments, words):
    for name, array in {
        "shape": np.zeros((2, 5, 5), np.uint8), "negative": np.full((6, 6), -1), "nan": np.full((6, 6), np.nan),
        "objects": np.array([{}], object), "right": np.zeros((6, 6), np.uint8),
    }.items():  # fmt: skip
        np.save(f"{name}.npy", array, allow_pickle=True)
    for name in ("text.npy", "text.png"):
        Path(name).write_text("no picture")
    shutil.copytree(trained, "trained")
    is_one_line(capsys, ["--mode=predict", "--workdir=trained", *arguments], words)


@pytest.mark.parametrize(
    "arguments", [["--config.seed=x"], ["--mode=evaluate", "--workdir=nothing"], ["--bad"], ["--config=empty.py"]]
)
def test_the_program_itself(folder, arguments):
    before = everything_here()
    done = subprocess.run([sys.executable, ROOT / "main.py", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("main.py: ")
    assert done.stderr.count("\n") == 1
    assert everything_here() == before


def test_the_table_is_as_long_as_promised():
    parts = (FLAGS, FIELDS, FILES, ARCHIVES, WORKDIRS, SWEEPS, PREDICT)
    assert all(len(part) >= 8 for part in parts)
    assert sum(map(len, parts)) >= 60


def test_help_is_short_and_says_it_all(folder, capsys):
    for flag in ("--help", "-h"):
        assert main.main(["main.py", flag, "--config.seed=x"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert len(out.splitlines()) < 25
        for word in ("--config", "--workdir", "--inputs", "--output", "configs/default.py", *main.MODES):
            assert word in out


def options(*arguments: str) -> main.Options:
    parsed = main.parse(["main.py", *arguments])
    assert parsed is not None
    return parsed


def test_flags_in_every_spelling():
    parsed = options(
        "--config.seed=3", "-config", "a.py", "--workdir", "w", "--config.momentum", "-.5", "--config.probes"
    )
    assert parsed.config == "a.py"
    assert parsed.workdir == "w"
    assert parsed.mode == "train"
    assert parsed.overrides == (("seed", "3"), ("momentum", "-.5"), ("probes", None))
    assert options("--config.storage=a=b").overrides == (("storage", "a=b"),)
    assert options("--config.probes", "--workdir=w").overrides == (("probes", None),)


def test_inputs_may_be_one_flag_or_many_or_a_list():
    expected = ("a.png", "b.png", "-c.png")
    for arguments in (
        ["--inputs=a.png", "b.png", "--", "-c.png"],
        ["--inputs", "a.png", "--inputs=b.png", "--inputs=-c.png"],
    ):
        assert options("--mode=predict", "--workdir=w", *arguments).inputs == expected


def stored_run(**changes) -> None:
    config = default.get_config()
    config.update(changes)
    Path("stored").mkdir()
    Path("stored/config.json").write_text(configs.to_json(config))


def test_a_workdir_gives_its_config_and_only_what_is_named_changes(folder):
    stored_run(seed=7, hidden_sizes=(5,), resume="changed", data_dir="/their/data")
    config = main.resolve(options("--workdir=stored", "--config.num_epochs=30"))
    assert (config.seed, config.hidden_sizes, config.num_epochs, config.data_dir) == (7, (5,), 30, "/their/data")
    assert config.resume == "strict"  # that it was 'changed' was said of an earlier start
    config = main.resolve(options("--mode=evaluate", "--workdir=stored", "--config.dataset=mnist"))
    assert (config.seed, config.dataset) == (7, "mnist")


def test_a_config_file_on_a_resume_counts_as_a_changed_config(folder):
    stored_run(num_epochs=5)
    default_file = f"--config={ROOT}/configs/default.py"
    assert main.resolve(options("--workdir=stored", default_file)).num_epochs == 10  # it may grow
    with pytest.raises(UserError, match=r"num_epochs .5, now 4."):
        main.resolve(options("--workdir=stored", default_file, "--config.num_epochs=4"))
    config = main.resolve(options("--workdir=stored", f"--config={ROOT}/configs/sgd.py", "--config.resume=never"))
    assert config.optimizer == "sgd"


def test_starting_over_does_not_read_what_is_stored(folder):
    default_file = f"--config={ROOT}/configs/default.py"
    assert main.resolve(options("--workdir=cut", default_file, "--config.resume=never")).seed == 0


def test_the_name_of_a_new_workdir_is_its_own(folder, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda form: "20260101-120000")
    name = "fashion_mnist-adam-hl_3-sz_128-bs_32-ac_relu-20260101-120000"
    config = default.get_config()
    with main.new_workdir(config) as first, main.new_workdir(config) as second:
        assert [str(first), str(second)] == [f"runs/{name}", f"runs/{name}-2"]
        assert first.is_dir()
        (second / "config.json").write_text("{}")
    assert os.listdir("runs") == [f"{name}-2"]  # the one that stayed empty is gone


def test_an_error_of_a_run_leaves_no_new_workdir(folder, capsys):
    before = everything_here()
    assert main.main(["main.py", "--config.dataset=./no_archives"]) == 2
    assert everything_here() == before


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("a: b"), 2, "p: a: b"),
        (OSError(28, "No space left on device", "x/y"), 2, "p: [Errno 28] No space left on device: 'x/y'"),
        (PermissionError(13, "Permission denied", "x"), 2, "p: [Errno 13] Permission denied: 'x'"),
        (MemoryError(), 2, "p: MemoryError"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes."), 2, "p: out of memory: "),
        (Diverged("step 3"), 1, "p: step 3"),
        (Interrupted("go on with x"), 130, "p: go on with x"),
        (KeyboardInterrupt(), 130, "p: interrupted"),
        (UserError("two\nlines"), 2, "p: two lines"),
        (OSError("postgresql://me:s3cr3t@host/db is down"), 2, "p: postgresql://me@host/db is down"),
    ],
)
def test_how_an_exception_ends_the_program(capsys, error, status, line):
    def action() -> int:
        raise error

    assert main.exit_status("p", action) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_a_bug_shows_its_traceback_but_no_password(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")

    def action() -> int:
        raise ValueError("cannot reach postgresql://me:s3cr3t@host/db with 0123456789abcdef0123456789abcdef01234567")

    assert main.exit_status("p", action) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "ValueError: cannot reach postgresql://me@host/db with …" in err
    assert "s3cr3t" not in err
    assert "0123456789abcdef" not in err


def test_a_reader_that_leaves_is_no_trouble():
    code = "import sys, main; sys.exit(main.exit_status('p', lambda: print('x' * 10_000_000) or 0))"
    command = f"{sys.executable} -c {json.dumps(code)} | head -c 1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("x", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "main.py", "--help"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 2
    assert done.stderr.startswith("main.py: [Errno 28]")
    assert done.stderr.count("\n") == 1
