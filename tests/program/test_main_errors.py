"""Bad input: one line on stderr that names the thing, exit status 2, nothing written.

A case is (arguments, words that the line has to hold). It runs in an empty folder that `prepare` has filled.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlp_jax import cli
from mlp_jax.data import download
from mlp_jax.errors import Diverged, Interrupted, UserError
from mlp_jax.runs.config import complete, write
from tests.shared.idx_files import make_arrays, write_idx_folder
from tests.shared.runs import trained

ROOT = Path(__file__).parents[2]
ASSIGNMENT = f"--config={ROOT}/configs/assignment.py"


def prepare() -> None:
    """In the current folder: what the cases name."""
    Path("file").write_text("x")
    for name in ("nothing", "no_archives", "run", "cut_run", "pipe"):
        Path(name).mkdir()
    Path("broken.py").write_text("def get_config(:")
    Path("wandb.yaml").write_text("learning_rate: 0.1")
    right = {"dataset": "digits", "sweep": {"method": "grid", "parameters": {"seed": {"values": [1]}}}}
    Path("sweep.py").write_text(f"def get_config(): return {right}")
    write(complete({}), Path("run"))
    Path("cut_run/config.json").write_text('{"seed": 1')
    os.mkfifo("pipe/config.json")
    write_idx_folder(Path("cut"), make_arrays(num_train=40, num_test=12))
    os.truncate("cut/train-images-idx3-ubyte", 700)


FLAGS = [
    (["--wrkdir=x"], "--wrkdir --workdir"),
    (["-b", "32"], "-b --config.FIELD"),
    (["--learning_rate=0.1"], "'--learning_rate' did you mean --config.learning_rate?"),
    (["--dataset=digits"], "'--dataset' did you mean --config.dataset?"),
    (["-lr", "0.1"], "'-lr' did you mean --config.learning_rate?"),
    (["broken.py"], "'broken.py' did you mean --config=broken.py?"),
    (["--undefok=foo", "--foo"], "--undefok"),
    (["--flagfile=file"], "--flagfile"),
    (["--noconfig.probes"], "--noconfig.probes --config"),
    (["--mode=trian"], "--mode 'trian' evaluate did you mean train?"),
    (["--mode"], "--mode"),
    (["--workdir="], "--workdir ''"),
    (["--config= "], "--config ' '"),
    (["stray"], "'stray' --FLAG=VALUE"),
    (["-"], "'-'"),
    (["--inputs=file"], "--inputs --mode=train predict"),
    (["--output=x"], "--output --mode=train best"),
    (["--mode=gradcheck", "--workdir=run"], "--workdir --mode=gradcheck"),
    (["--mode=evaluate", "--workdir=run", "--config=broken.py"], "--config --mode=evaluate train"),
    (["--mode=predict", "--workdir=run"], "--inputs --mode=predict folder"),
    (["--mode=predict", "--workdir=run", "--inputs="], "--inputs ''"),
    (["--nohelp=1"], "--nohelp"),
]
FIELDS = [
    (["--config.lerning_rate=1"], "'lerning_rate' did you mean learning_rate?"),
    (["--config.lr=-1"], "learning_rate -1.0 above 0"),
    (["--config.n_layers=1"], "'n_layers' did you mean hidden_sizes?"),
    (["--config.seed.x=1"], "'seed.x' does not exist"),
    (["--config.__class__=1"], "'__class__' does not exist"),
    (["--config.sweep.method=grid"], "'sweep.method' does not exist"),
    (["--config.a\nb=1"], "'a\\nb' does not exist"),
    (["--config.learning_rate"], "learning_rate no value a number"),
    (["--config.learning_rate="], "learning_rate '' a number"),
    (["--config.learning_rate", "fast"], "learning_rate 'fast' a number"),
    (["--config.learning_rate=0"], "learning_rate 0.0 above 0"),
    (["--config.learning_rate", "-0.1"], "learning_rate -0.1 above 0"),
    (["--config.learning_rate=nan"], "learning_rate nan"),
    (["--config.seed=1.5"], "seed '1.5' a whole number"),
    (["--config.seed=" + "9" * 5000], "seed a whole number"),
    (["--config.seed=4294967297"], "seed 4294967297 4294967295"),
    (["--config.stratified=maybe"], "stratified 'maybe' true or false"),
    (["--config.probes", "run"], "probes 'run' true or false"),
    (["--config.hidden_sizes=128,x"], "hidden_sizes 'x' whole numbers"),
    (["--config.hidden_sizes=128,,64"], "hidden_sizes whole numbers"),
    (["--config.hidden_sizes=" + "(" * 9999], "hidden_sizes whole numbers"),
    (["--config.hidden_sizes=99999999"], "hidden_sizes 99999999 1048576"),
    (["--config.optimizer=adem"], "optimizer 'adem' nesterov did you mean adam?"),
    (["--config.optimizer="], "optimizer '' nadam"),
    (["--config.optimizer=a\nb"], "optimizer control characters"),
    (["--config.mesh=8"], "mesh '8' data:N"),
    (["--config.dropout_rate=1"], "dropout_rate 1.0 below 1"),
    (["--config.weight_decay=-1"], "weight_decay -1.0 from 0"),
    (["--config.num_epochs=0"], "num_epochs 0 from 1"),
    # What fields owe each other.
    (["--config.seed=4294967295", "--config.seeds=2"], "seeds 2 at most 1"),
    (["--config.early_stopping=2", "--config.val_fraction=0"], "early_stopping 2 val_fraction=0"),
    (["--config.warmup_epochs=10"], "warmup_epochs 10.0 num_epochs=10"),
    (["--config.augment_flip", "--config.dataset=mnist"], "augment_flip True mnist"),
    (["--config.norm=layer", "--config.hidden_sizes=8,1"], "norm 'layer' hidden layer of 1"),
    (["--config.tracker=wandb", "--config.wandb_project="], "wandb_project"),
    ([ASSIGNMENT, "--config.experiments=losse"], "experiments 'losse' samples batches did you mean losses?"),
    ([ASSIGNMENT, "--config.experiments="], "experiments () samples"),
    ([ASSIGNMENT, "--config.budget=ful"], "budget 'ful' quick did you mean full?"),
    ([ASSIGNMENT, "--config.edition=2024"], "edition 2024 2026 2025"),
    (["--config.edition=2025"], "edition does not exist"),
    ([ASSIGNMENT, "--config.num_epochs=5"], "num_epochs 5 10: budget"),
]
FILES = [
    (["--config=nowhere.py"], "'nowhere.py'"),
    (["--config=brokn.py"], "'brokn.py' did you mean broken.py?"),
    ([f"--config={ROOT}/configs/assigment.py"], "assigment.py did you mean assignment.py?"),
    (["--config=nothing"], "'nothing'"),
    (["--config=sweep"], "'sweep' did you mean sweep.py?"),
    (["--config=wandb.yaml"], "wandb.yaml no sweep of W&B's"),
    (["--config.dataset=fashion_mist"], "dataset 'fashion_mist' did you mean fashion_mnist?"),
    (["--config.dataset=./nowhere"], "dataset nowhere"),
    (["--config.dataset=./file"], "dataset file"),
    (["--config.dataset=no_archives"], "dataset no_archives train-images-idx3-ubyte"),
    (["--config.dataset=./cut"], "cut/train-images-idx3-ubyte cut short"),
    (["--config.fallback_dataset=digit"], "fallback_dataset 'digit' did you mean digits?"),
    (["--config=sweep.py", "--config.sweep.method=gird"], "sweep.method 'gird' did you mean grid?"),
    (["--config=sweep.py", "--config.sweep.run_cap=many"], "sweep.run_cap 'many' a whole number"),
    (["--config=sweep.py", "--config.sweep.bach=2"], "'sweep.bach' did you mean sweep.batch?"),
    (
        ["--config=sweep.py", "--config.sweep.parameters.lerning_rate.value=2"],
        "'lerning_rate' did you mean learning_rate?",
    ),
    (["--config=sweep.py", "--config.sweep=3"], "'sweep' only its parts"),
    (["--config=sweep.py", "--config.storage=mysql://me:hunter2@host/db"], "storage 'mysql' postgresql"),
    (["--config=sweep.py", "--config.storage=postgresql://me:hunter2@127.0.0.1:1/db"], "storage reached"),
]
WORKDIRS = [
    (["--mode=evaluate"], "--workdir --mode=evaluate needs the folder --workdir=DIR"),
    (["--mode=evaluate", "--workdir=run", "--config.hidden_sizes=64"], "'hidden_sizes' --mode=evaluate evaluate_split"),
    (
        ["--mode=export", "--workdir=run", "--output=m.npy", "--config.seed=1"],
        "'seed' --mode=export does not read nor any",
    ),
    (["--mode=check", "--inputs=broken.py", "--config.hidden_sizes=64"], "'hidden_sizes' --mode=check data_dir, seed"),
    (["--mode=compare", "--inputs=run", "--config.seed=1"], "'seed' --mode=compare does not read nor any"),
    (["--mode=evaluate", "--workdir=run", "--config.lr=1"], "'learning_rate' --mode=evaluate dataset"),
    (["--mode=evaluate", "--workdir=run", "--config.evaluate_spilt=val"], "did you mean evaluate_split?"),
    (["--mode=predict", "--workdir=run", "--inputs=file", "--config.dataset=mnist"], "'dataset' --mode=predict"),
    (["--mode=best", "--workdir=run", "--config.num_epochs=3"], "'num_epochs' --mode=best data_dir resume"),
    (["--mode=report", "--workdir=run", "--config.seed=3"], "'seed' --mode=report budget"),
    (["--mode=report", "--workdir=file"], "--workdir 'file' config.json"),
    (["--mode=best", "--workdir=nowhere"], "--workdir 'nowhere' config.json"),
    (["--mode=predict", "--workdir=nothing", "--inputs=file"], "--workdir 'nothing' config.json"),
    (["--mode=best", "--workdir=run"], "--workdir 'run' no finished sweep best.json"),
    (["--workdir=cut_run"], "cut_run/config.json not JSON"),
    (["--mode=evaluate", "--workdir=pipe"], "pipe/config.json not a regular file"),
    (["--workdir=run", "--config.learning_rate=0.5"], "run learning_rate 0.001 0.5 resume=changed resume=never"),
    (["--workdir=run", f"--config={ROOT}/configs/sgd.py"], "run learning_rate optimizer 'adam' 'sgd'"),
    (["--workdir=run", "--config.num_epochs=3"], "run num_epochs 10 3"),
    (["--workdir=run", "--config.resume=changed", "--config.seed=1"], "run seed resume=never"),
    (["--workdir=run/config.json", "--config.dataset=digits"], "run/config.json a file is in the way"),
    (["--workdir=/proc/x", "--config.dataset=digits"], "/proc/x"),
]
# Config files, and what the line says of them.
FILES_OF_CONFIGS = [
    ("def get_config(:", "SyntaxError"),
    ("\0", "null byte"),
    ("", "get_config()"),
    ("get_config = 3", "get_config()"),
    ("import no_such_module", "no_such_module"),
    ("raise SystemExit(3)", "SystemExit"),
    ("def get_config(a): return a", "TypeError"),
    ("def get_config(): raise RuntimeError('two\\nlines')", "RuntimeError two lines"),
    ("def get_config(): return None", "returned None"),
    ("def get_config(): return {'lerning_rate': 1}", "'lerning_rate' did you mean learning_rate?"),
    ("def get_config(): return {'learning_rate': 0}", "learning_rate 0.0 above 0"),
    ("def get_config(): return {1: 0}", "'1'"),
    ("def get_config(): return {'sweep': {'a.b': 1}}", "'a.b'"),
    ("def get_config(): return {'sweep': {'a': {1, 2}}}", "sweep.a"),
    ("def get_config(): return {'sweep': {'a': float('nan')}}", "sweep.a"),
]
# The same of a config.json.
STORED = [
    (b"", "not JSON"),
    (b"\xff\xfe", "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b'{"seed": ' + b"1" * 5000 + b"}", "not JSON"),
    (b'{"learning_rate": NaN}', "not JSON"),
    (b"[1]", "no JSON object"),
    (b'{"sede": 1}', "'sede' did you mean seed?"),
    (b'{"optimizer": "adamw"}', "optimizer 'adamw'"),
    (b'{"seed": "0"}', "seed '0' a whole number"),
    (b'{"seed": null}', "seed None"),
    (b'{"learning_rate": 1e999}', "learning_rate inf"),
    (b'{"hidden_sizes": [1e3]}', "hidden_sizes"),
    (b'{"data_dir": "a\\u0000b"}', "data_dir"),
    (b'{"data_dir": "\\ud800"}', "data_dir"),
    (b'{"sweep": []}', "sweep"),
]
PREDICT = [
    (["--inputs=none.png"], "--inputs 'none.png'"),
    (["--inputs=file"], "--inputs 'file'"),
    (["--inputs=nothing"], "--inputs 'nothing'"),
    (["--inputs=shape.npy"], "--inputs 'shape.npy' (2, 5, 5) 6"),
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


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """On pictures of 6 × 6."""
    return trained(tmp_path_factory.mktemp("trained"), hidden_sizes=(4,), num_epochs=1)


@pytest.fixture
def refused(folder, capsys):
    """Whether arguments end in the one line, and nothing is written."""

    def check(arguments: list[str], words: str) -> None:
        before = everything_here()
        assert cli.main(["main.py", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("main.py: ")
        assert (err.count("\n"), err[-1]) == (1, "\n")
        assert "hunter2" not in err  # a planted password
        assert not [word for word in words.split(" ") if word not in err], err
        assert everything_here() == before

    return check


def short(value: object) -> str:
    return (" ".join(value) if isinstance(value, list) else str(value))[:80]


@pytest.mark.parametrize(("arguments", "words"), FLAGS + FIELDS + FILES + WORKDIRS, ids=short)
def test_bad_input_is_one_line_and_leaves_nothing(refused, arguments, words):
    refused(arguments, words)


@pytest.mark.parametrize(("code", "words"), FILES_OF_CONFIGS, ids=short)
def test_a_config_file_that_is_none_is_named(refused, code, words):
    Path("mine.py").write_text(code)
    refused(["--config=mine.py"], f"mine.py {words}")


@pytest.mark.parametrize(("content", "words"), STORED, ids=short)
def test_a_config_json_that_was_edited_or_damaged_is_named(refused, content, words):
    Path("run/config.json").write_bytes(content)
    refused(["--workdir=run"], f"run/config.json {words}")


@pytest.mark.parametrize(("arguments", "words"), PREDICT, ids=short)
def test_a_picture_that_is_none_leaves_no_predictions(refused, trained_run, arguments, words):
    shutil.copytree(trained_run, "trained")
    np.save("shape.npy", np.zeros((2, 5, 5), np.uint8))
    np.save("right.npy", np.zeros((6, 6), np.uint8))
    refused(["--mode=predict", "--workdir=trained", *arguments], words)


@pytest.mark.parametrize("arguments", [["--config.seed=x"], ["--mode=evaluate", "--workdir=nothing"], ["--bad"]])
def test_the_program_itself(folder, arguments):
    before = everything_here()
    done = subprocess.run([sys.executable, ROOT / "main.py", *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("main.py: ")
    assert everything_here() == before


def test_help_is_short_and_says_it_all(folder, capsys):
    for flag in ("--help", "-h"):
        assert cli.main(["main.py", flag, "--config.seed=x"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert len(out.splitlines()) < 25
        for word in ("--config", "--workdir", "--inputs", "--output", "configs/default.py", *cli.MODES):
            assert word in out
    assert cli.main(["bin/mlp-jax", "--help"]) == 0
    assert "main.py" not in capsys.readouterr().out


def options(*arguments: str) -> cli.Options:
    parsed = cli.parse(["main.py", *arguments])
    assert parsed is not None
    return parsed


def test_flags_in_every_spelling():
    one = options("--config.seed=3", "-config", "a.py", "--workdir", "w", "--config.momentum", "-.5", "--config.probes")
    assert (one.config, one.workdir, one.mode) == ("a.py", "w", "train")
    assert one.overrides == (("seed", "3"), ("momentum", "-.5"), ("probes", None))
    assert options("--config.storage=a=b").overrides == (("storage", "a=b"),)
    assert options("--config.probes", "--workdir=w").overrides == (("probes", None),)
    for arguments in (
        ["--inputs=a.png", "b.png", "--", "-c.png"],
        ["--inputs", "a.png", "--inputs=b.png", "--inputs=-c.png"],
    ):
        assert options("--mode=predict", "--workdir=w", *arguments).inputs == ("a.png", "b.png", "-c.png")


def stored_run(**fields) -> None:
    Path("stored").mkdir()
    write(complete(fields), Path("stored"))


def test_a_workdir_gives_its_config_and_only_what_is_named_changes(folder):
    stored_run(seed=7, hidden_sizes=[5], resume="changed", data_dir="/their/data")
    config = cli.resolve(options("--workdir=stored", "--config.num_epochs=30"))
    assert (config.seed, config.hidden_sizes, config.num_epochs, config.data_dir) == (7, (5,), 30, "/their/data")
    assert config.resume == "strict"  # 'changed' was meant for an earlier start
    config = cli.resolve(options("--mode=evaluate", "--workdir=stored", "--config.dataset=mnist"))
    assert (config.seed, config.dataset) == (7, "mnist")


def test_a_config_file_on_a_resume_counts_as_a_changed_config(folder):
    stored_run(num_epochs=5)
    default, sgd = (f"--config={ROOT}/configs/{name}.py" for name in ("default", "sgd"))
    assert cli.resolve(options("--workdir=stored", default)).num_epochs == 10  # it may grow
    with pytest.raises(UserError, match=r"num_epochs .5, now 4."):
        cli.resolve(options("--workdir=stored", default, "--config.num_epochs=4"))
    # Starting over does not read what is stored.
    for stored in ("stored", "cut_run"):
        assert cli.resolve(options(f"--workdir={stored}", sgd, "--config.resume=never")).optimizer == "sgd"


def test_the_name_of_a_new_workdir_is_its_own(folder, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda form: "20260101-120000")
    name = "fashion_mnist-adam-hl_3-sz_128-bs_32-ac_relu-20260101-120000"
    config = complete({"data_dir": "nowhere"})
    with cli.new_workdir(config, "fashion_mnist") as first, cli.new_workdir(config, "fashion_mnist") as second:
        assert [str(first), str(second)] == [f"runs/{name}", f"runs/{name}-2"]
        assert first.is_dir()
        (second / "config.json").write_text("{}")
    assert os.listdir("runs") == [f"{name}-2"]  # the one that stayed empty is gone


def test_a_run_that_fell_back_is_in_a_folder_named_after_what_it_trained_on(folder, monkeypatch):
    def unreachable(*arguments: object) -> None:
        raise download.Unreachable("no network")

    monkeypatch.setattr(download, "fetch", unreachable)
    config = complete({"data_dir": "nowhere", "hidden_sizes": (4,), "num_epochs": 1})
    cli.train(config)
    (made,) = os.listdir("runs")
    assert made.startswith("digits-adam-hl_1-sz_4-bs_32-ac_relu-ep_1-")
    assert json.loads(Path("runs", made, "summary.json").read_text())["dataset"] == "digits"
    assert json.loads(Path("runs", made, "config.json").read_text())["dataset"] == "fashion_mnist"


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

    assert cli.exit_status("p", action) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_a_bug_shows_its_traceback_but_no_password(capsys, monkeypatch):
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)

    def action() -> int:
        raise ValueError(f"cannot reach postgresql://me:s3cr3t@host/db with {key}")

    assert cli.exit_status("p", action) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "ValueError: cannot reach postgresql://me@host/db with …" in err
    assert "s3cr3t" not in err
    assert "0123456789abcdef" not in err


def test_a_reader_that_leaves_is_no_trouble():
    code = "import sys; from mlp_jax import cli; sys.exit(cli.exit_status('p', lambda: print('x' * 10_000_000) or 0))"
    command = f"{sys.executable} -c {json.dumps(code)} | head -c 1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("x", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "main.py", "--help"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("main.py: [Errno 28]")
