"""Compiled for accelerators that are not here: everything compiles, fits, and devices talk as planned."""

import json
import subprocess
from collections import Counter
from typing import Any

import pytest

from benchmarks import accelerator, ahead, hlo
from benchmarks.chips import CHIPS

MODULE = """
%step (p: (f32[8,4], u8[100,4], s32[])) -> (f32[8,4], u8[100,4], s32[]) {
  %p = (f32[8,4]{1,0}, u8[100,4]{1,0}, s32[]) parameter(0)
  %w = f32[8,4]{1,0} get-tuple-element(%p), index=0
  %x = u8[100,4]{1,0} get-tuple-element(%p), index=1
  %i = s32[] get-tuple-element(%p), index=2
  %rows = u8[2,4]{1,0} dynamic-slice(%x, %i, %i), dynamic_slice_sizes={2,4}
  %near = f32[8,4]{1,0:S(1)} copy(%w)
  %sum = f32[8,4]{1,0} all-reduce(%near), to_apply=%add
  ROOT %out = (f32[8,4]{1,0}, u8[100,4]{1,0}, s32[]) tuple(%sum, %x, %i)
}

ENTRY %main (a: f32[8,4]) -> f32[8,4] {
  %a = f32[8,4]{1,0} parameter(0)
  %once = f32[] all-reduce(%c), to_apply=%add
  %loop = (f32[8,4]{1,0}, u8[100,4]{1,0}, s32[]) while(%t), condition=%until, body=%step
}
"""


def test_a_step_is_read_from_the_text_of_its_loop():
    step = hlo.body(MODULE)
    assert [hlo.opcode(line) for line in step] == ["dynamic-slice", "copy", "all-reduce"]
    assert hlo.collectives(step) == Counter({"all-reduce": 1})
    assert hlo.collectives(MODULE.splitlines()) == Counter({"all-reduce": 2})
    # The rows are read and written, the index read twice; w is read once and written once, the rest lies on the chip.
    assert sum(size for size, _ in hlo.traffic(MODULE, step)) == 2 * 8 + 2 * 4 + 2 * 128


def row(program: str, **fields: Any) -> ahead.Row:
    numbers = {"devices": 1, "compile_seconds": 1.0, "kernels": 50, "flops": 1.0, "bytes": 1.0, "copies": 9.0}
    rest = {"least_us": 1000.0, "peak_bytes": 1e9, "collectives": {}, "elsewhere": {}}
    return ahead.Row(**{"chip": "H100 SXM", "program": program, **numbers, **rest, **fields})


def test_a_program_that_kills_its_compiler_is_a_row_and_the_next_one_follows(tmp_path, monkeypatch):
    second = json.dumps(row("second: steps")._asdict())
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
case "$*" in
  *--skip=0*) echo compiling 4 first; kill -6 $$ ;;
  *--skip=1*) echo compiling 1 second; echo '{second}' ;;
esac
""")
    python.chmod(0o755)
    monkeypatch.setattr(ahead.sys, "executable", str(python))
    monkeypatch.setattr(ahead, "provenance", dict)
    first, other = ahead.rows_of("h100")
    assert (first.program, first.devices) == ("first", 4)
    assert first.error == "the compiler's process ended with status -6"
    assert other == row("second: steps")


def test_the_estimate_of_the_grid_counts_its_steps():
    """8 chunks of 256 lanes of each batch size; 54,000/16 = 3,375, ⌈54,000/32⌉ = 1,688, ⌈54,000/64⌉ = 844 steps."""
    steps = 8 * 10 * (3375 + 1688 + 844)
    rows = [row(f"256 mixed lanes, {name}: steps") for name in ("float32", "batch 16", "batch 64")]
    told = ahead.grid_estimate(rows)
    assert f"at least {steps * 1e-3 / 60:.1f} minutes" in told
    assert f"{steps * 50 * 3e-6 / 60:.0f} to {steps * 50 * 5e-6 / 60:.0f} by launches" in told
    assert ahead.grid_estimate(rows[:2]) == ""


def test_the_page_tells_what_did_not_compile(tmp_path):
    rows = [row("one run, tf32: steps"), row("data:4, batch 4096: steps", devices=4, collectives={"all-reduce": 1})]
    rows += [row("evaluation, tf32", chip="T4", error="no"), row("evaluation, tf32: evaluate")]
    page = "\n".join(ahead.markdown(rows))
    assert "1 did not compile" in page
    assert "| one run, tf32: steps |  |  |  | 1,000 · 9.0 · 50 |  |  |" in page
    assert "| data:4, batch 4096: steps |  |  |  | all-reduce:1 |  |  |" in page
    assert "| evaluation, tf32 |  |  |  |  |  | FAILED |" in page


PIECES = """
%step (p: (f32[8,4])) -> (f32[8,4]) {
  %w = f32[8,4]{1,0} get-tuple-element(%p), index=0
  %bytes = s8[128]{0} bitcast(%w)
  %begun = ((s8[128]{0}), s8[32]{0:S(1)}, s32[]{:S(2)}) slice-start(%bytes), slice={[0:32]}
  %piece = s8[32]{0:S(1)} slice-done(%begun)
}

%loop = (f32[8,4]{1,0}) while(%t), condition=%until, body=%step
"""


def test_a_piece_fetched_ahead_is_a_part_of_its_array():
    assert hlo.traffic(PIECES, hlo.body(PIECES)) == [(32, (8, 4))]


@pytest.fixture(scope="session")
def python() -> str:
    """The environment with the compilers, made where it is missing."""
    return accelerator.compiler()


@pytest.mark.slow
@pytest.mark.parametrize("name", CHIPS)
def test_every_program_compiles_fits_and_talks_as_planned(name, python):
    command = [python, "-m", "benchmarks.ahead", name, "--rows"]
    done = subprocess.run(command, cwd=accelerator.ROOT, capture_output=True, text=True)
    rows = [ahead.Row(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr[-2000:]
    programs = {row.program.partition(":")[0] for row in rows}
    assert {"data", "fsdp", "one run, float32", "evaluation, bfloat16", "256 mixed lanes, tf32"} <= programs
    assert not [(row, why) for row in rows if (why := ahead.unplanned(row))]


@pytest.mark.parametrize(
    ("program", "fields", "why"),
    [
        ("one run, tf32: steps", {}, ""),
        ("one run, tf32", {"error": "ValueError: no"}, "ValueError: no"),
        ("one run, tf32: steps", {"peak_bytes": 75e9}, "75.0 GB do not fit"),
        ("data:4: steps", {"devices": 4}, "- in a step; planned is one all-reduce"),
        (
            "fsdp:4: steps",
            {"devices": 4, "collectives": {"all-reduce": 1}},
            "all-reduce:1 in a step; planned are all-g",
        ),
        ("64 lanes over 4: steps", {"devices": 4, "collectives": {"all-gather": 2}}, "all-gather:2 in a step, - else"),
        (
            "1944 mixed lanes over 4: end",
            {"devices": 4, "elsewhere": {"all-reduce": 1}},
            "- in a step, all-reduce:1 el",
        ),
        ("256 mixed lanes, tf32: steps", {"copies": 14.5}, "reads and writes the parameters 14.5 times a step"),
    ],
)
def test_what_is_not_as_planned_is_named(program, fields, why):
    found = ahead.unplanned(row(program, **fields))
    assert found.startswith(why)
    assert bool(found) == bool(why)
