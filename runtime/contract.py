"""`Contract`: what a model takes and gives, enforced on the device as in training."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import numpy.typing as npt

from .errors import ContractError

FloatArray = npt.NDArray[np.float32]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample's tensor, without the batch axis; images are (height, width, channels)."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None

    @property
    def elements(self) -> int:
        """Number of scalars in one sample."""
        return math.prod(self.shape)


class Affine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="affine"):
    """`(x - offset) * factor`, applied to the whole tensor."""

    offset: float = 0.0
    factor: float = 1.0

    def apply(self, samples: FloatArray) -> FloatArray:
        """Shape and dtype (float32) stay."""
        return ((samples - np.float32(self.offset)) * np.float32(self.factor)).astype(np.float32)


class FeatureAffine(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="feature_affine"):
    """`(x - offsets) * factors` along the last axis: for features of different units."""

    offsets: tuple[float, ...]
    factors: tuple[float, ...]

    def apply(self, samples: FloatArray) -> FloatArray:
        """Shape and dtype (float32) stay."""
        offsets = np.asarray(self.offsets, dtype=np.float32)
        factors = np.asarray(self.factors, dtype=np.float32)
        return ((samples - offsets) * factors).astype(np.float32)


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Input schema, preprocessing and classes of a classifier."""

    input: TensorSpec
    classes: tuple[str, ...]
    preprocessing: tuple[Affine | FeatureAffine, ...] = ()
    task: str = "classification"
    schema: int = 1

    def check(self, samples: npt.NDArray[np.generic]) -> FloatArray:
        """Validate raw samples of shape (n, *input.shape); returns them as float32.

        Raises:
            ContractError: naming the input and the rule that it breaks.
        """
        name = self.input.name
        if tuple(samples.shape[1:]) != self.input.shape:
            raise ContractError(
                f"input '{name}' has shape {tuple(samples.shape[1:])}, "
                f"the contract says {self.input.shape}",
                rule="shape",
            )
        if samples.dtype.kind not in "fiu":
            msg = f"input '{name}' has dtype {samples.dtype}, the contract needs numbers"
            raise ContractError(msg, rule="dtype")
        values = samples.astype(np.float32)
        if not np.isfinite(values).all():
            msg = f"input '{name}' holds a value that is not finite"
            raise ContractError(msg, rule="finite")
        self._check_range(values)
        return values

    def _check_range(self, values: FloatArray) -> None:
        spec = self.input
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if spec.minimum is not None and low < spec.minimum:
            msg = f"input '{spec.name}' holds {low:g}, the contract's minimum is {spec.minimum:g}"
            raise ContractError(msg, rule="range")
        if spec.maximum is not None and high > spec.maximum:
            msg = f"input '{spec.name}' holds {high:g}, the contract's maximum is {spec.maximum:g}"
            raise ContractError(msg, rule="range")

    def preprocess(self, samples: FloatArray) -> FloatArray:
        """Raw samples to model input, the same steps in training and on the device."""
        for step in self.preprocessing:
            samples = step.apply(samples)
        return samples
