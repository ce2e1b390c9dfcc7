"""Which engine runs which artifact format on which class of device.

Two engines take very different times over the same model, so a cost table holds for one engine
alone, and this table says whose price an artifact has. It is a fact about our runtimes, not about
a profile: a profile chooses formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from .errors import TargetError
from .target import Target

EngineName = Literal["litert", "onnxruntime", "tflm", "c"]
ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)

_LINUX = {"tflite": "litert", "onnx": "onnxruntime", "c": "c"}
_BARE = {"tflite": "tflm", "c": "c"}  # TensorFlow Lite Micro; nothing runs ONNX there
# device class -> format -> engine
ENGINES: Mapping[str, Mapping[str, str]] = {
    "host": _LINUX,
    "linux": _LINUX,
    "mcu": _BARE,
    "npu": _BARE,
}


def engine_of(target: Target, fmt: str) -> str:
    """The engine that runs artifacts of format `fmt` on `target`.

    Raises:
        TargetError: nothing on a device of that class runs the format.
    """
    engines = ENGINES[target.device_class]
    if fmt not in engines:
        msg = (
            f"target '{target.id}' is of class {target.device_class}, where no engine runs "
            f"{fmt}; engines run: {', '.join(engines)}"
        )
        raise TargetError(msg)
    return engines[fmt]


def first_engine(target: Target) -> str:
    """The engine of the target's best format: what a candidate is judged by before a compile."""
    return engine_of(target, target.formats[0])
