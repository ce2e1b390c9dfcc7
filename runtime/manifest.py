"""`Manifest`: what is in a bundle and where it came from. Its sha256 is the bundle's id."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from .errors import NotABundleError, SchemaVersionError

if TYPE_CHECKING:
    from edgekiln.targets.evidence import Estimate

SCHEMA = 1


class EstimateRecord(msgspec.Struct, frozen=True):
    """An `edgekiln.targets.Estimate` as data; `tier` is `T0` to `T4`."""

    value: float
    low: float
    high: float
    unit: str
    tier: str
    evidence_id: str

    @classmethod
    def of(cls, estimate: Estimate) -> EstimateRecord:
        """An estimate as a manifest and every JSON document hold it."""
        return cls(
            value=float(estimate.value),
            low=float(estimate.low),
            high=float(estimate.high),
            unit=estimate.unit,
            tier=estimate.tier.name,
            evidence_id=estimate.evidence_id,
        )


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of the bundle beside the manifest."""

    path: str
    bytes: int
    sha256: str


class Artifact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes of one format for one target class; `path` names its member (a folder for `c`)."""

    target: str
    format: str  # tflite | onnx | c
    path: str
    bytes: int
    sha256: str
    numerics: str  # int8.v1 | int16x8.v1 | int4w.v1 | float32
    accuracy: float  # on the validation split, in the format's own engine where it runs here
    latency: EstimateRecord | None  # None where nothing prices it; the model card says why
    ram: EstimateRecord
    flash: EstimateRecord
    golden_max_lsb: int = 1  # steps that its engine may be from the golden vectors on any device


class GateCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One limit: what was asked, what was found, in one line."""

    quantity: str
    limit: float
    found: float
    passed: bool
    message: str


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The compile gate's verdict. A forced gate keeps its failed checks and the reason."""

    passed: bool
    checks: tuple[GateCheck, ...]
    forced_reason: str = ""


class Lineage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a model came from; empty strings where there is nothing to say."""

    data_sha256: str
    search_id: str = ""
    candidate_id: str = ""
    parent: str = ""  # bundle id of the release that this one replaces
    seed: int = 0


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a reader needs before it opens another member."""

    name: str
    members: tuple[Member, ...]
    artifacts: tuple[Artifact, ...]
    accuracy_float: float | None  # None: the model came quantized, there is no float one
    accuracy_int8: float  # of the compiled graph in the numpy reference
    gate: Gate
    lineage: Lineage
    inputs: dict[str, str]  # digest of every input of the compile
    tools: dict[str, str]  # name -> version
    schema: int = SCHEMA

    def to_bytes(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, UTF-8."""
        return msgspec.json.encode(self, order="sorted")

    @property
    def bundle_id(self) -> str:
        """Hex sha256 of the canonical bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Decode and check the schema version.

        Raises:
            SchemaVersionError: the manifest is of another major version.
            NotABundleError: the bytes are no manifest.
        """
        try:
            version = msgspec.json.decode(data, type=_Version).schema
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotABundleError(f"manifest.json cannot be read: {error}") from error
        if version != SCHEMA:
            raise SchemaVersionError(
                f"manifest.json has schema {version}, this reader knows {SCHEMA}"
            )
        try:
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise NotABundleError(f"manifest.json breaks its schema: {error}") from error


class _Version(msgspec.Struct):
    schema: int
