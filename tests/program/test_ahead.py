"""Compiled for accelerators that are not here: everything compiles, fits, and devices talk as planned."""

import json
import subprocess
from collections import Counter

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
    assert not [row for row in rows if row.error]
    programs = {row.program.partition(":")[0] for row in rows}
    assert {"data", "fsdp", "one run, float32", "evaluation, bfloat16", "1944 mixed lanes, tf32"} <= programs
    for row in rows:
        assert row.peak_bytes < 0.9 * CHIPS[name].memory * 1e9, row
        kind = row.program.rpartition(": ")[2]
        if kind == "steps" and row.program.startswith("data:"):
            assert row.collectives == {"all-reduce": 1}, row
        elif kind == "steps" and row.program.startswith("fsdp:"):
            assert "all-gather" in row.collectives, row
        elif kind == "steps" or row.devices == 1 or "lanes" in row.program:
            assert not row.collectives, row
