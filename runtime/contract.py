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

    def check_task(self, task: str) -> None:
        """Refuse a contract for another task, or without what the task needs.

        Raises:
            ContractError: in one line what it is for.
        """
        if self.task != task:
            raise ContractError(
                f"the contract is for {self.task}; this runtime answers {task} alone: run the "
                "artifact with its engine, or compile the model with its classes"
            )
        if not self.classes:
            raise ContractError(f"the contract is for {task} and names no classes")
        if self.input.elements < 1:
            raise ContractError(f"input '{self.input.name}' has shape {self.input.shape}")

    def array(self, raw: npt.ArrayLike) -> npt.NDArray[np.generic]:
        """What a caller handed over, as an array of whatever shape and dtype it has.

        Raises:
            ContractError: it is none, such as lists of different lengths.
        """
        if type(raw) is np.ndarray:
            return raw
        try:
            return np.asarray(raw)
        except (ValueError, TypeError, OverflowError) as error:
            raise ContractError(
                f"input '{self.input.name}' is no array: {error}", "shape"
            ) from error

    def check(self, samples: npt.NDArray[np.generic]) -> FloatArray:
        """Validate raw samples of shape (n, *input.shape); returns them as float32.

        Raises:
            ContractError: naming the input, the rule that it breaks, and where: `image[3,4,0] of
                sample 17`.
        """
        spec = self.input
        if samples.ndim == 0 or samples.shape[1:] != spec.shape:
            raise ContractError(
                f"input '{spec.name}' has shape {tuple(samples.shape[1:])}, "
                f"the contract says {spec.shape}",
                "shape",
            )
        if samples.dtype.kind not in "fiu":
            msg = f"input '{spec.name}' has dtype {samples.dtype}, the contract needs numbers"
            raise ContractError(msg, "dtype")
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            values = samples.astype(np.float32)
        if values.size:
            self._check_values(values)
        return values

    def _check_values(self, values: FloatArray) -> None:
        spec = self.input
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            place = int(np.argmin(np.isfinite(values)))
            raise ContractError(f"{self._place(values, place)} is not finite", "finite")
        if spec.minimum is not None and low < spec.minimum:
            place = int(values.argmin())
            rule = f"is {low:g}, the contract's minimum is {spec.minimum:g}"
            raise ContractError(f"{self._place(values, place)} {rule}", "range")
        if spec.maximum is not None and high > spec.maximum:
            place = int(values.argmax())
            rule = f"is {high:g}, the contract's maximum is {spec.maximum:g}"
            raise ContractError(f"{self._place(values, place)} {rule}", "range")

    def _place(self, values: FloatArray, place: int) -> str:
        """A value's name; `place` is its index in the flattened samples."""
        sample, *index = (int(i) for i in np.unravel_index(place, values.shape))
        element = f"[{','.join(map(str, index))}]" if index else ""
        batch = f" of sample {sample}" if len(values) > 1 else ""
        return f"input '{self.input.name}'{element}{batch}"

    def preprocess(self, samples: FloatArray) -> FloatArray:
        """Raw samples to model input, the same steps in training and on the device."""
        for step in self.preprocessing:
            samples = step.apply(samples)
        return samples
