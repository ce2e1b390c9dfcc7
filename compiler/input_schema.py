"""`InputSchema`: what a user says of the samples that their numbers do not, and what follows.

A model is right only on inputs that were prepared as in its training. What is not said is found in
the samples: flat ones are features, each to mean 0 and deviation 1; images go to 0..1 as a whole;
series, (time, channels), have each channel taken to mean 0 and deviation 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgekiln.runtime.contract import Affine, FeatureAffine, TensorSpec

from .errors import DataFormatError

FloatArray = npt.NDArray[np.float32]
Kind = Literal["features", "image", "series"]
Method = Literal["none", "unit", "standardize", "affine"]
Steps = tuple[Affine | FeatureAffine, ...]

KINDS: tuple[Kind, ...] = ("features", "image", "series")
METHODS: tuple[Method, ...] = ("none", "unit", "standardize", "affine")
# Samples of two axes are a series where the last one is short beside the other, else an image.
SERIES_CHANNELS, SERIES_RATIO = 16, 4


@dataclass(frozen=True, slots=True)
class InputSchema:
    """What is known of the samples; None and empty where the data are to tell.

    `preprocessing` `unit` takes `minimum`..`maximum`, or what the training split spans, to 0..1;
    `standardize` takes each feature or channel to mean 0 and deviation 1; `affine` is
    (x - offset) · factor, with one number for all or one for each channel.
    """

    kind: Kind | None = None
    name: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    preprocessing: Method | None = None
    offset: tuple[float, ...] = ()
    factor: tuple[float, ...] = ()

    def problem(self) -> str:
        """What contradicts itself, in a sentence; nothing where it is sound."""
        numbers = (*self.offset, *self.factor, self.minimum or 0.0, self.maximum or 0.0)
        if not all(math.isfinite(number) for number in numbers):
            return "a number is not finite"
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            return f"minimum {self.minimum:g} is not below maximum {self.maximum:g}"
        given = bool(self.offset or self.factor)
        if given and self.preprocessing not in (None, "affine"):
            return f"offset and factor do not go with preprocessing '{self.preprocessing}'"
        if self.preprocessing == "affine" and not given:
            return "preprocessing 'affine' needs offset or factor"
        if self.offset and self.factor and 1 not in (len(self.offset), len(self.factor)):
            return "" if len(self.offset) == len(self.factor) else _unequal(self)
        return ""


def shaped(
    x: FloatArray, schema: InputSchema, limits: tuple[float, float] | None, place: str
) -> FloatArray:
    """Samples as the contract has them; a grey image gets its channel axis.

    `limits` are the sensor's, where they are known from the numbers' type: such are images.
    `place` begins what is said of an error.

    Raises:
        DataFormatError: samples with as many axes are not of that kind.
    """
    kind = schema.kind or kind_of(x.shape[1:], limits)
    axes = x.ndim - 1
    fits = {"features": axes == 1, "image": axes in (2, 3), "series": axes == 2}
    if not fits[kind]:
        raise DataFormatError(
            f"{place}: samples of shape {x.shape[1:]} are no {kind}; features have the shape "
            "(features), images (height, width) or (height, width, channels), series "
            "(time, channels)"
        )
    return x[..., None] if kind == "image" and axes == 2 else x


def kind_of(shape: tuple[int, ...], limits: tuple[float, float] | None) -> Kind:
    """What samples of a shape are where nobody says it."""
    if len(shape) == 1:
        return "features"
    if len(shape) == 2 and limits is None:
        time, channels = shape
        if channels <= SERIES_CHANNELS and time >= SERIES_RATIO * channels:
            return "series"
    return "image"


def tensor_spec(
    schema: InputSchema, shape: tuple[int, ...], limits: tuple[float, float] | None
) -> TensorSpec:
    """The contract's input for samples that are `shaped`."""
    low, high = limits or (None, None)
    names = {1: "features", 2: "series", 3: "image"}
    return TensorSpec(
        name=schema.name or names[len(shape)],
        shape=shape,
        unit=schema.unit,
        minimum=low if schema.minimum is None else schema.minimum,
        maximum=high if schema.maximum is None else schema.maximum,
    )


def preprocessing(schema: InputSchema, spec: TensorSpec, train: FloatArray, place: str) -> Steps:
    """The steps from raw samples to what the model takes; `train` is the training split.

    Raises:
        DataFormatError: offsets or factors are not one, and not one for each channel.
    """
    if schema.offset or schema.factor:
        return _affine(schema, spec, place)
    method = schema.preprocessing or ("unit" if len(spec.shape) == 3 else "standardize")
    if method == "none":
        return ()
    return _unit(spec, train) if method == "unit" else _standardize(train)


def preprocessing_text(steps: Steps) -> str:
    """One line for a person."""
    return ", then ".join(_step_text(step) for step in steps) or "none"


def _unit(spec: TensorSpec, train: FloatArray) -> Steps:
    low = float(train.min()) if spec.minimum is None else spec.minimum
    high = float(train.max()) if spec.maximum is None else spec.maximum
    return (Affine(offset=low, factor=1.0 / (high - low) if high > low else 1.0),)


def _standardize(train: FloatArray) -> Steps:
    """One int8 scale serves the whole input, so a feature that is a thousandth of another's size
    would not survive quantization as it is."""
    values = train.astype(np.float64)
    around = tuple(range(values.ndim - 1))
    spread = values.std(axis=around)
    spread[spread == 0] = 1.0  # a constant feature becomes 0
    offsets = tuple(float(mean) for mean in values.mean(axis=around))
    return (FeatureAffine(offsets, tuple(float(1 / deviation) for deviation in spread)),)


def _affine(schema: InputSchema, spec: TensorSpec, place: str) -> Steps:
    offsets, factors = schema.offset or (0.0,), schema.factor or (1.0,)
    count = max(len(offsets), len(factors))
    if count == 1:
        return (Affine(offsets[0], factors[0]),)
    if count != spec.shape[-1]:
        raise DataFormatError(
            f"{place}: offset and factor have {count} numbers, samples of shape {spec.shape} have "
            f"{spec.shape[-1]} along their last axis; give one, or one for each"
        )
    return (FeatureAffine(_widened(offsets, count), _widened(factors, count)),)


def _widened(numbers: tuple[float, ...], count: int) -> tuple[float, ...]:
    return numbers * count if len(numbers) == 1 else numbers


def _unequal(schema: InputSchema) -> str:
    return f"offset has {len(schema.offset)} numbers and factor {len(schema.factor)}"


def _step_text(step: Affine | FeatureAffine) -> str:
    if isinstance(step, FeatureAffine):
        return f"an offset and a factor for each of {len(step.offsets)} channels"
    return f"(x - {step.offset:g}) · {step.factor:g}"
