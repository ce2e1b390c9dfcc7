"""Which engine runs which format, and that no format is without one."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from edgekiln.targets import TargetError, engine_of, first_engine, list_targets, load_target
from edgekiln.targets.engines import ENGINE_NAMES, ENGINES
from edgekiln.targets.profile_schema import DeviceClass, Format


def test_every_class_has_engines_of_known_names_for_known_formats() -> None:
    assert set(ENGINES) == set(get_args(DeviceClass))
    for engines in ENGINES.values():
        assert set(engines) <= set(get_args(Format))
        assert set(engines.values()) <= set(ENGINE_NAMES)


@pytest.mark.parametrize(
    ("target_id", "engines"),
    [
        ("host", {"tflite": "litert", "onnx": "onnxruntime"}),
        ("raspberry-pi-4", {"tflite": "litert"}),
        ("cortex-m4", {"c": "c", "tflite": "tflm"}),
    ],
)
def test_shipped_formats_have_the_engine_that_runs_them(
    target_id: str, engines: dict[str, str]
) -> None:
    target = load_target(target_id)
    assert {fmt: engine_of(target, fmt) for fmt in target.formats} == engines
    assert first_engine(target) == next(iter(engines.values()))


def test_engine_is_an_error_that_names_the_others_when_nothing_runs_the_format() -> None:
    with pytest.raises(
        TargetError, match=r"'cortex-m4'.*class mcu.*no engine runs onnx.*tflite, c"
    ):
        engine_of(load_target("cortex-m4"), "onnx")


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.id)
def test_first_engine_is_that_of_the_first_format(target) -> None:
    turned = dataclasses.replace(target, formats=tuple(reversed(target.formats)))
    assert first_engine(turned) == engine_of(target, target.formats[-1])
