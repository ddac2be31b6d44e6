"""Submissions checked, each in processes of its own, and marked in one table that can go on later."""

import csv
import hashlib
import io
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from mlp_jax.check import sandbox
from mlp_jax.check.findings import FAILED, RIGHT, VERDICTS, Finding, as_table, exit_status
from mlp_jax.check.page import write_check_page
from mlp_jax.check.weights import check_weights
from mlp_jax.errors import UserError
from mlp_jax.files.progress import progress
from mlp_jax.files.workdir import create, lock, read_if_there, write_bytes, write_json
from mlp_jax.runs.runtime import usable_cores

AT_ONCE = 4  # submissions at most; each has one thread
RECORD, PAGE, TABLE = "check.json", "check.html", "check.csv"
LONGEST = 400  # characters of a text that comes out of a submission's process
WORDS = {0: "right", 1: "wrong", 2: "nothing checked"}


class Marked(NamedTuple):
    """One submission, checked."""

    name: str
    digest: str  # of its content
    seconds: float
    findings: tuple[Finding, ...]
    walls: str  # what the platform gave to confine it


def submission(path: Path, seed: int, data_dir: str) -> Marked:
    """Checks a Python file, an .npy file with its best_config.json, or a folder of one submission."""
    start, findings, walls = time.monotonic(), list[Finding](), ""
    try:
        found = sandbox.files(path)
        content = sandbox.digest(path)
    except (UserError, OSError) as error:
        return Marked(path.name, "", 0.0, (Finding("submission", FAILED, note=_line(str(error))),), "")
    inside = {file.relative_to(path).as_posix() if path.is_dir() else file.name: file for file in found}
    if any(name.endswith(".py") for name in inside):
        told, failure, walls = _in_sandbox("functions", path, {"seed": seed})
        findings += told
        findings += [Finding("submission", FAILED, note=failure)] if failure else []
    train, inference, model = (_named(inside, name) for name in ("train.py", "inference.py", "best_model.npy"))
    if path.suffix == ".npy":
        model = path.name
    if path.is_dir() and (train or (inference and model)):
        names = {"train": train, "inference": inference, "model": model}
        told, failure, walls = _in_sandbox("programs", path, names)
        findings += told
        findings += [Finding("train.py" if train else inference, FAILED, note=failure)] if failure else []
    if model:
        findings.append(check_weights(inside[model], data_dir))
    return Marked(path.name, content, time.monotonic() - start, tuple(findings), walls)


def _named(files: Iterable[str], name: str) -> str:
    """The file of that name that lies highest; '' where there is none."""
    return min((file for file in files if file.rpartition("/")[2] == name), key=lambda f: (f.count("/"), f), default="")


def _in_sandbox(job: str, path: Path, arguments: dict[str, Any]) -> tuple[list[Finding], str, str]:
    """The findings that a job told, why it failed ('' where it did not), and the walls around it."""
    outcome = sandbox.run(job, path, arguments)
    findings = [finding for record in outcome.records if (finding := _finding(record))]
    failure, last = outcome.failure, next((record["at"] for record in outcome.records[::-1] if "at" in record), "")
    return findings, _line(failure + (f"; it was at: {last}" if failure and last else "")), outcome.walls


def _finding(record: dict[str, Any]) -> Finding | None:
    """A finding that came out of a submission's process, which is believed in its form alone after a look at it."""
    if "item" not in record or record.get("verdict") not in VERDICTS:
        return None
    texts = {name: _line(str(record.get(name) or "")) for name in ("item", "where", "expected", "found", "note")}
    error, mistakes = record.get("error"), record.get("mistakes")
    return Finding(
        **texts,
        verdict=record["verdict"],
        error=float(error) if isinstance(error, int | float) else None,
        mistakes=tuple(map(_line, map(str, mistakes))) if isinstance(mistakes, list) else (),
        equation=_line(str(record.get("equation") or "")),
    )


def _line(text: str) -> str:
    """One line without control characters, which a terminal might obey."""
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


# ---- many


def run(inputs: Sequence[str], output: str, seed: int, data_dir: str) -> int:
    """Checks every input, prints the table, and writes check.json, check.html and, of several, check.csv to `output`.

    What check.json already says of a submission with the same content is not computed again. Returns the exit status:
    0 all right, 1 something wrong, 2 nothing could be checked.
    """
    paths = [Path(name) for name in inputs]
    for path in paths:
        if not path.exists():
            raise UserError(f"--inputs: there is no file or folder {str(path)!r}")
    if not output:
        marked = _all(paths, seed, data_dir, {}, None)
    else:
        folder = Path(output)
        create(folder)
        with lock(folder):
            marked = _all(paths, seed, data_dir, _known(folder / RECORD, seed), folder)
            write_check_page(folder / PAGE, [(m.name, m.findings) for m in marked], isolation(marked))
            if len(marked) > 1:
                write_bytes(folder / TABLE, _csv(marked))
    one = as_table(marked[0].findings) if marked[0].findings else "nothing was found that can be checked"
    print(_table(marked) if len(marked) > 1 else one)
    if output:
        print(f"written to {Path(output) / PAGE}")
    return exit_status(finding for one in marked for finding in one.findings)


def _all(
    paths: Sequence[Path], seed: int, data_dir: str, known: dict[str, Marked], folder: Path | None
) -> list[Marked]:
    """Every submission in the order of `paths`; the record is kept after each, so that a killed check goes on."""
    names = _names(paths)
    done: dict[int, Marked] = {}
    kept = threading.Lock()

    def one(number: int) -> None:
        path = paths[number]
        try:
            old = known.get(sandbox.digest(path))
        except (UserError, OSError):
            old = None
        marked = (old or submission(path, seed, data_dir))._replace(name=names[number])
        with kept:
            done[number] = marked
            if folder and not old:
                others = [m for m in known.values() if m.digest not in {d.digest for d in done.values()}]
                _keep(folder / RECORD, [*(done[n] for n in sorted(done)), *others], seed)

    workers = max(1, min(AT_ONCE, usable_cores(), len(paths)))
    pool = ThreadPoolExecutor(workers)
    try:
        with progress(len(paths), "submissions") as show:
            waiting = {pool.submit(one, number): number for number in range(len(paths))}
            for count, future in enumerate(as_completed(waiting), 1):
                future.result()
                show(count, names[waiting[future]])
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        sandbox.stop()
        raise
    finally:
        pool.shutdown()
    result = [done[number] for number in range(len(paths))]
    if folder:
        _keep(folder / RECORD, result, seed)
    return result


def _names(paths: Sequence[Path]) -> list[str]:
    """Each path's last part, or the whole path where others share it."""
    shared = Counter(path.resolve().name for path in paths)
    return [path.resolve().name if shared[path.resolve().name] == 1 else str(path) for path in paths]


@cache
def _checker(seed: int) -> str:
    """What a record depends on besides the submission: this code, and the seed."""
    total = hashlib.sha256(f"{seed} {sys.version}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()


def _keep(path: Path, marked: Iterable[Marked], seed: int) -> None:
    rows = [
        {**m._asdict(), "status": WORDS[exit_status(m.findings)], "findings": [f._asdict() for f in m.findings]}
        for m in marked
    ]
    write_json(path, {"checker": _checker(seed), "submissions": rows})


def _known(path: Path, seed: int) -> dict[str, Marked]:
    """What an earlier check by the same code found, by the submission's digest."""
    try:
        record = read_if_there(path)
        rows = record["submissions"] if record.get("checker") == _checker(seed) else []
        known = {
            row["digest"]: Marked(
                row["name"],
                row["digest"],
                row["seconds"],
                tuple(finding for found in row["findings"] if (finding := _finding(found))),
                row["walls"],
            )
            for row in rows
        }
    except (UserError, LookupError, TypeError, AttributeError):
        return {}  # no record of ours: everything is checked again
    return {digest: one for digest, one in known.items() if digest}


def isolation(marked: Iterable[Marked]) -> str:
    """What stood between the submissions and this machine, as a sentence."""
    walls = {one.walls for one in marked if one.walls}
    limit = f"{sandbox.SECONDS:.0f} s ({sandbox.PROCESSOR_SECONDS} of computing)"
    ever = f"a copy in a temporary folder, {limit}, {sandbox.PRINTED // 2**20} MiB of output"
    if not walls:
        return "No code of a submission was run."
    given = " / ".join(sorted(walls))
    missing = [word for word in ("files", "processes", "memory") if any(word not in wall for wall in walls)]
    lacking = f" This platform does not wall off: {', '.join(missing)}." if missing else ""
    return f"Each submission ran in processes of its own: {ever}; limits of the platform: {given}.{lacking}"


def _table(marked: Sequence[Marked]) -> str:
    """A line a submission: how many items are right, wrong, unsure and failed, and the known mistakes."""
    heads = ("submission", "status", *VERDICTS, "known mistakes")
    rows = [heads, *([str(cell) for cell in _row(one)] for one in marked)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads) - 1)]
    lines = ["  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[-1]]).rstrip() for row in rows]
    total = Counter(WORDS[exit_status(one.findings)] for one in marked)
    return "\n".join([*lines, "", ", ".join(f"{count} {word}" for word, count in total.items())])


def _row(one: Marked) -> tuple[Any, ...]:
    counts = Counter(finding.verdict for finding in one.findings)
    mistakes = dict.fromkeys(name for finding in one.findings for name in finding.mistakes)
    return one.name, WORDS[exit_status(one.findings)], *(counts[verdict] for verdict in VERDICTS), ", ".join(mistakes)


def _csv(marked: Sequence[Marked]) -> bytes:
    """UTF-8 with a mark, so that spreadsheets read it; a name that begins like a formula gets an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("submission", "status", *VERDICTS, "known mistakes", "seconds", "what is not right"))
    for one in marked:
        notes = "; ".join(f"{f.item}: {f.where or f.note or f.verdict}" for f in one.findings if f.verdict != RIGHT)
        cells = (*_row(one), f"{one.seconds:.1f}", notes)
        writer.writerow([f"'{cell}" if str(cell)[:1] in tuple("=+-@") else cell for cell in cells])
    return text.getvalue().encode("utf-8-sig")
