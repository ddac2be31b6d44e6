"""Accelerators that programs are compiled for without one: their published limits, and what compilers ask of them.

Peaks are dense, in TFLOP/s, for the products of each `precision`. TPUs multiply in bfloat16: a float32 product takes
six passes (`lax.Precision.HIGHEST`), their default one. A T4 has no TF32 and no bfloat16.
"""

from typing import Any, NamedTuple


class Chip(NamedTuple):
    """`topologies` are of 4 and 16 chips; a single chip is one of the four, since no TPU is described alone."""

    name: str
    platform: str  # "tpu" or "cuda"
    topologies: tuple[str, ...]
    memory: float  # GB
    bandwidth: float  # GB/s
    peak: dict[str, float]
    on_chip: float = 0.0  # MB of vector memory in which a program may keep arrays between steps
    target: str = ""  # what XLA asks of a GPU


def _gpu(
    name: str, capability: tuple[int, int], cores: int, fpus: int, clock: float, shared: int, l2: int, **more: Any
) -> str:
    threads, bandwidth, memory = more["threads"], more["bandwidth"], more["memory"]
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: {shared} shared_memory_per_block_optin: {shared - 1024}
  threads_per_core_limit: {threads} core_count: {cores} fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: {l2} clock_rate_ghz: {clock} device_memory_size: {memory}
  cuda_compute_capability {{ major: {capability[0]} minor: {capability[1]} }}
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  driver_version: "12.9.0" runtime_version: "12.9.0" dnn_version: "9.8.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 9 patch: 0 }}
device_description_str: "{name}"
"""


def _tpu(name: str, topologies: tuple[str, ...], memory: float, bandwidth: float, peak: float, on_chip: float) -> Chip:
    return Chip(
        name, "tpu", topologies, memory, bandwidth, {"float32": peak / 6, "tf32": peak, "bfloat16": peak}, on_chip
    )


_GPU_TOPOLOGIES = ("1x1x4", "2x1x8")
CHIPS = {
    "v5e": _tpu("TPU v5e", ("v5e:2x2", "v5e:4x4"), 16, 819, 197, 128),
    "v6e": _tpu("TPU v6e", ("v6e:2x2", "v6e:4x4"), 32, 1640, 918, 128),
    "v5p": _tpu("TPU v5p", ("v5p:2x2x1", "v5p:2x2x4"), 95, 2765, 459, 128),
    "h100": Chip(
        "H100 SXM",
        "cuda",
        _GPU_TOPOLOGIES,
        80,
        3350,
        {"float32": 67, "tf32": 495, "bfloat16": 989},
        target=_gpu(
            "NVIDIA H100 80GB HBM3",
            (9, 0),
            132,
            128,
            1.98,
            233472,
            52428800,
            threads=2048,
            bandwidth=3352320000000,
            memory=84929347584,
        ),
    ),
    "a100": Chip(
        "A100 SXM",
        "cuda",
        _GPU_TOPOLOGIES,
        80,
        2039,
        {"float32": 19.5, "tf32": 156, "bfloat16": 312},
        target=_gpu(
            "NVIDIA A100-SXM4-80GB",
            (8, 0),
            108,
            64,
            1.41,
            167936,
            41943040,
            threads=2048,
            bandwidth=2039000000000,
            memory=84987740160,
        ),
    ),
    "t4": Chip(
        "T4",
        "cuda",
        _GPU_TOPOLOGIES,
        16,
        320,
        {"float32": 8.1, "tf32": 8.1, "bfloat16": 8.1},
        target=_gpu(
            "Tesla T4", (7, 5), 40, 64, 1.59, 65536, 4194304, threads=1024, bandwidth=320064000000, memory=15655829504
        ),
    ),
}
