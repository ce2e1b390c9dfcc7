"""Fit the T1 cost tables of `targets/catalog/` to published results, and print them as TOML.

    python -m benchmarks.fit_profiles

The T2 table of the Cortex-M4's generated C is not fitted here: `edgekiln targets calibrate
cortex-m4 -o cortex-m4.toml` writes it.

The models and the MLPerf Tiny rows are read from the folder `EDGEKILN_DATA`; the few published
figures for the Raspberry Pi are below, each with its source. Whole-model times of a handful of
models carry a handful of coefficients, so operators share them:

- Cortex-M4: one time per multiply-accumulate (MAC) for each of the three operators that multiply.
  The others take the fully connected time per byte: that operator, too, loads a byte, works on it
  and never meets it again.
- Raspberry Pi 4: convolution and fully connected share a time per MAC, depthwise has its own and
  lends it to the others per byte (all three are bound by memory), and every call costs a time that
  does not depend on the dtype, so both dtypes are fitted together.

`low_ratio` and `high_ratio` come from leaving out one engine (Cortex-M4) or one model (Raspberry
Pi) at a time.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekiln.targets import LayerWork, Workload
from edgekiln.targets.conformal import ratio_interval
from edgekiln.targets.fit import relative_nnls

ROOT = Path(__file__).resolve().parent.parent
TASK_FILES = {"ad": "ad_fc", "ic": "ic_resnet8", "kws": "kws_dscnn", "vww": "vww_mbv1"}
MULTIPLYING = ("conv2d", "depthwise_conv2d", "fully_connected")
OTHERS = ("add", "average_pool2d", "max_pool2d", "mean", "pad", "softmax")  # no MACs
ITEM_SIZE = {"int8": 1, "float32": 4}

# Cortex-M4: engines on the NUCLEO-L4R5ZI at 120 MHz, by (round, submitter, system). Left out are
# re-submissions of one build and two commercial engines (Plumerai, HALE) that nobody gets by
# compiling a plain model: without them the table is slower.
ENGINES = {
    ("0.5", "reference", "Nucleo-L4R5ZI"): "tflm",
    ("0.7", "STMicroelectronics", "NUCLEO_L4R5ZI"): "x-cube-ai",
    ("1.0", "STMicroelectronics", "NUCLEO_L4R5ZI"): "x-cube-ai",
    ("1.1", "Krai", "NUCLEO-L4R5ZI_X-CUBE-AI-8.0"): "x-cube-ai",
    ("1.1", "STMicroelectronics", "NUCLEO_L4R5ZI"): "x-cube-ai",
    ("1.0", "OctoML", "microtvm_cmsis_nn/NUCLEO_L4R5ZI"): "microtvm-cmsis-nn",
    ("1.0", "OctoML", "microtvm_native/NUCLEO_L4R5ZI"): "microtvm",
    ("1.1", "Skymizer", "NUCLEO_L4R5ZI-mbed_os"): "onnc",
    ("1.1", "Skymizer", "NUCLEO_L4R5ZI-zephyr"): "onnc",
}

# Raspberry Pi 4 (Cortex-A72, 1.5 GHz, 64-bit), ms.
# MLPerf Tiny v0.5, closed division, Latent AI, raspberry_pi_4_leip_framework: the median of the
# five timed laps in each performance_log.txt, divided by its number of inferences.
# XNNPACK's README, "RPi 4 (BCM2711, ARM64)", benchmarked on Feb 8, 2022.
PI_4_MS = {
    "int8": {
        "ad": 0.1921,
        "ic": 1.0736,
        "kws": 0.4215,
        "vww": 2.5993,
        "mobilenet_v1": 24.0,
        "mobilenet_v2": 17.0,
    },
    "float32": {
        "ad": 0.1686,
        "ic": 1.3122,
        "kws": 0.3932,
        "vww": 3.7455,
        "mobilenet_v1": 77.0,
        "mobilenet_v2": 46.0,
    },
}
# All of those ran on several threads: XNNPACK says so, and float32 ic at 0.105 ns per MAC is
# under what one core can do (4 MACs a cycle at 1.5 GHz: 0.167 ns). One thread is what a device
# uses. XNNPACK issue 814 has MobileNet v1 on a Raspberry Pi 4 with 1 and 4 threads.
ONE_THREAD = 312.008 / 142.362
CORES = 4

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A published time; `group` is what is left out together."""

    workload: Workload
    time_ns: float
    group: str


@dataclass(frozen=True)
class Fitted:
    """Coefficients in ns, and what they are worth on a group that was left out."""

    coefficients: FloatArray
    low_ratio: float
    high_ratio: float
    heldout_median_ape: float
    samples: int


def main() -> int:
    """Print the tables of both profiles."""
    data = Path(os.environ.get("EDGEKILN_DATA", ROOT.parent / "shared" / "data"))
    if not data.is_dir():
        print(f"no data folder {data}; set EDGEKILN_DATA", file=sys.stderr)
        return 2
    print_cortex_m4(fit(cortex_m4_rows(data), cortex_m4_features))
    print_raspberry_pi_4(fit(raspberry_pi_4_rows(data), raspberry_pi_4_features))
    return 0


def fit(rows: Sequence[Row], features: Callable[[Workload], list[float]]) -> Fitted:
    """Relative least squares with non-negative coefficients; ratios by leaving groups out.

    The unit is the group: its most extreme row counts, so that four models of one engine are one
    observation and not four.
    """
    design = np.array([features(row.workload) for row in rows])
    times = np.array([row.time_ns for row in rows])
    groups = np.array([row.group for row in rows])
    lows, highs, errors = [], [], []
    for group in sorted(set(groups)):
        out = groups == group
        ratios = times[out] / (design[out] @ relative_nnls(design[~out], times[~out]))
        lows.append(ratios.min())
        highs.append(ratios.max())
        errors.extend(np.abs(1 / ratios - 1))
    return Fitted(
        coefficients=relative_nnls(design, times),
        low_ratio=ratio_interval(np.array(lows))[0],
        high_ratio=ratio_interval(np.array(highs))[1],
        heldout_median_ape=float(np.median(errors)),
        samples=len(rows),
    )


def cortex_m4_rows(data: Path) -> list[Row]:
    workloads = {task: read_tflite(data, task, "int8") for task in TASK_FILES}
    rows = []
    with (data / "latency" / "mlperf_tiny_published.csv").open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            engine = ENGINES.get((line["round"], line["submitter"], line["system"]))
            if engine is not None:
                time_ns = float(line["latency_ms"]) * 1e6
                rows.append(Row(workloads[line["task"]], time_ns, engine))
    return rows


def cortex_m4_features(workload: Workload) -> list[float]:
    """MACs of conv2d, of depthwise_conv2d, of fully_connected plus the bytes of the others."""
    conv2d, depthwise, dense = (macs_of(workload, op) for op in MULTIPLYING)
    return [conv2d, depthwise, dense + bytes_of_others(workload)]


def print_cortex_m4(fitted: Fitted) -> None:
    dense = fitted.coefficients[2]
    print_head("cortex-m4", "tflm", "int8", "mlperf-tiny", fitted)
    for op, cost in zip(MULTIPLYING, fitted.coefficients, strict=True):
        print(f"{op} = {{ ns_per_mac = {cost:.4g} }}")
    for op in OTHERS:
        print(f"{op} = {{ ns_per_byte = {dense:.4g} }}")
    print("reshape = {}\n")


def raspberry_pi_4_rows(data: Path) -> list[Row]:
    rows = []
    for dtype, published in PI_4_MS.items():
        workloads = {task: read_tflite(data, task, dtype) for task in TASK_FILES}
        workloads |= {"mobilenet_v1": mobilenet_v1(dtype), "mobilenet_v2": mobilenet_v2(dtype)}
        rows += [Row(workloads[name], ms * 1e6, name) for name, ms in published.items()]
    return rows


def raspberry_pi_4_features(workload: Workload) -> list[float]:
    """Dense and memory-bound work of int8, the same of float32, and the calls."""
    conv2d, depthwise, dense = (macs_of(workload, op) for op in MULTIPLYING)
    work = [conv2d + dense, depthwise + bytes_of_others(workload) / ITEM_SIZE[workload.dtype]]
    calls = sum(layer.op != "reshape" for layer in workload.layers)
    none = [0.0, 0.0]
    return [*work, *none, calls] if workload.dtype == "int8" else [*none, *work, calls]


def print_raspberry_pi_4(fitted: Fitted) -> None:
    """The tables for one thread: work scaled by `ONE_THREAD`, calls kept, the interval widened.

    One thread is at least as slow as several, and at most `CORES` times slower.
    """
    wide = dataclasses.replace(
        fitted,
        low_ratio=fitted.low_ratio / ONE_THREAD,
        high_ratio=fitted.high_ratio * CORES / ONE_THREAD,
    )
    call_us = fitted.coefficients[4] / 1e3
    for index, dtype in enumerate(PI_4_MS):
        dense, bound = fitted.coefficients[2 * index : 2 * index + 2] * ONE_THREAD
        print_head("raspberry-pi-4", "litert", dtype, "published-multithreaded", wide)
        for op, cost in zip(MULTIPLYING, (dense, bound, dense), strict=True):
            print(f"{op} = {{ per_call_us = {call_us:.4g}, ns_per_mac = {cost:.4g} }}")
        for op in OTHERS:
            per_byte = bound / ITEM_SIZE[dtype]
            print(f"{op} = {{ per_call_us = {call_us:.4g}, ns_per_byte = {per_byte:.4g} }}")
        print("reshape = {}\n")


def print_head(target: str, engine: str, dtype: str, evidence: str, fitted: Fitted) -> None:
    print(f"# targets/catalog/{target}.toml")
    print("[[costs]]")
    print(f'engine = "{engine}"\ndtype = "{dtype}"\ntier = "T1"\nevidence = "{evidence}"')
    print(f"low_ratio = {fitted.low_ratio:.3f}\nhigh_ratio = {fitted.high_ratio:.3f}")
    print(f"samples = {fitted.samples}\nheldout_median_ape = {fitted.heldout_median_ape:.3f}")
    print("[costs.ops]")


def macs_of(workload: Workload, op: str) -> int:
    return sum(layer.macs for layer in workload.layers if layer.op == op)


def bytes_of_others(workload: Workload) -> int:
    return sum(layer.bytes_moved for layer in workload.layers if layer.op in OTHERS)


def read_tflite(data: Path, task: str, dtype: str) -> Workload:
    """What an MLPerf Tiny reference model asks for, read from its flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    suffix = "int8" if dtype == "int8" else "float"
    content = (data / "mlperf_tiny" / f"{TASK_FILES[task]}_{suffix}.tflite").read_bytes()
    model = schema.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    names = {
        code: name.lower()
        for name, code in vars(schema.BuiltinOperator).items()
        if isinstance(code, int)
    }
    ours = {
        "conv_2d": "conv2d",
        "depthwise_conv_2d": "depthwise_conv2d",
        "average_pool_2d": "average_pool2d",
    }
    layers = []
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        tensors = [graph.Tensors(i) for i in (*operator.InputsAsNumpy(), operator.Outputs(0))]
        shapes = [tuple(int(size) for size in tensor.ShapeAsNumpy()) for tensor in tensors]
        layers.append(layer(ours.get(name, name), shapes, dtype))
    return Workload(tuple(layers), dtype)


def layer(op: str, shapes: Sequence[tuple[int, ...]], dtype: str) -> LayerWork:
    """Work from the shapes of the inputs (data, weights in TFLite's layout, …) and the output."""
    outputs = math.prod(shapes[-1])
    per_output = {
        "conv2d": math.prod(shapes[1][1:]) if len(shapes) > 1 else 0,
        "depthwise_conv2d": math.prod(shapes[1][1:3]) if len(shapes) > 1 else 0,
        "fully_connected": shapes[1][-1] if len(shapes) > 1 else 0,
    }
    moved = sum(math.prod(shape) for shape in shapes) * ITEM_SIZE[dtype]
    return LayerWork(op, op, outputs * per_output.get(op, 0), moved, outputs)


def mobilenet_v1(dtype: str) -> Workload:
    """MobileNet v1 1.0 at 224 × 224 (Howard et al. 2017, table 1)."""
    plan = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]
    layers, size, channels = [conv(112, 3, 3, 32, dtype)], 112, 32
    for width, stride in plan:
        size //= stride
        layers += [depthwise(size, channels, dtype, stride), conv(size, 1, channels, width, dtype)]
        channels = width
    return Workload((*layers, *head(size, channels, dtype)), dtype)


def mobilenet_v2(dtype: str) -> Workload:
    """MobileNet v2 1.0 at 224 × 224 (Sandler et al. 2018, table 2)."""
    plan = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ]
    layers, size, channels = [conv(112, 3, 3, 32, dtype)], 112, 32
    for expansion, width, repeats, first_stride in plan:
        for index in range(repeats):
            stride, hidden = (first_stride if index == 0 else 1), channels * expansion
            if expansion > 1:
                layers.append(conv(size, 1, channels, hidden, dtype))
            size //= stride
            layers += [depthwise(size, hidden, dtype, stride), conv(size, 1, hidden, width, dtype)]
            if stride == 1 and channels == width:
                layers.append(layer("add", [(size, size, width)] * 3, dtype))
            channels = width
    layers.append(conv(size, 1, channels, 1280, dtype))
    return Workload((*layers, *head(size, 1280, dtype)), dtype)


def conv(size: int, kernel: int, inputs: int, outputs: int, dtype: str) -> LayerWork:
    """A square convolution with `size` × `size` outputs; the first layer (3 × 3) has stride 2."""
    source = size * (2 if kernel == 3 else 1)
    shapes = [(source, source, inputs), (outputs, kernel, kernel, inputs), (size, size, outputs)]
    return layer("conv2d", shapes, dtype)


def depthwise(size: int, channels: int, dtype: str, stride: int) -> LayerWork:
    source = size * stride
    shapes = [(source, source, channels), (1, 3, 3, channels), (size, size, channels)]
    return layer("depthwise_conv2d", shapes, dtype)


def head(size: int, channels: int, dtype: str) -> list[LayerWork]:
    """Global average pooling and the classifier of 1000 classes."""
    return [
        layer("average_pool2d", [(size, size, channels), (channels,)], dtype),
        layer("fully_connected", [(channels,), (1000, channels), (1000,)], dtype),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
