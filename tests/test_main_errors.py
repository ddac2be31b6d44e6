"""Bad input: one line on stderr that names the thing, exit status 2, nothing written.

A case is (arguments, words that the line has to hold). It runs in an empty folder that `prepare` has filled.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import main
from configs import default
from mlp_jax import config as configs
from mlp_jax.errors import Diverged, Interrupted, UserError

ROOT = Path(__file__).parent.parent
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
    ([f"--config={ROOT}/configs/experiments/losse.py"], "losse.py did you mean losses.py?"),
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


def everything_here() -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path.cwd().rglob("*")}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLP_JAX_DATA_DIR", str(tmp_path / "no_archives"))
    prepare()
    return tmp_path


def names(cases):
    return pytest.mark.parametrize(("arguments", "words"), cases, ids=[" ".join(case[0]) for case in cases])


@names(FLAGS + FIELDS + FILES + WORKDIRS)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, arguments, words):
    before = everything_here()
    assert main.main(["main.py", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("main.py: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    missing = [word for word in words.split(" ") if word not in err]
    assert not missing, err
    assert everything_here() == before


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
    for part in (FLAGS, FIELDS, FILES, WORKDIRS):
        assert len(part) >= 8


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


def test_a_bug_shows_its_traceback_but_no_password(capsys):
    def action() -> int:
        raise ValueError("cannot reach postgresql://me:s3cr3t@host/db")

    assert main.exit_status("p", action) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "ValueError: cannot reach postgresql://me@host/db" in err
    assert "s3cr3t" not in err


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
