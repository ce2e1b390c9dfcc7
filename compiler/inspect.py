"""`describe`: what is inside a bundle, a TFLite, an ONNX, a torch.export or a data file.

Layers are what the file computes, in order, with multiply-accumulates for a batch of one. One
reader for each format, chosen by the suffix; a file that cannot be read is one line that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.runtime.manifest import Manifest

from .card import accuracy_text, estimate_text
from .errors import ImportModelError
from .inspect_facts import Description, ModelFacts, model_lines, tensor_text

_LARGEST_FILE = 1 << 30  # bytes


def describe(path: Path) -> Description:
    """Describe the file at `path`.

    Raises:
        ImportModelError: no such file, an unknown format, or a file that cannot be read.
        BundleError: a bundle that is damaged.
    """
    kind = path.suffix.lower().removeprefix(".")
    reader = _READERS.get(kind)
    if reader is None:
        known = ", ".join(f".{name}" for name in _READERS)
        raise ImportModelError(f"{path}: unknown format '{path.suffix}'; known: {known}")
    if not path.is_file():
        raise ImportModelError(f"{path}: there is no such file")
    return reader(path)


def _describe_bundle(path: Path) -> Description:
    bundle = open_bundle(path)
    facts = _bundle_model(bundle)
    lines = (*_bundle_lines(bundle.manifest, bundle.bundle_id), *_contract_lines(bundle))
    if facts is None:
        return Description(str(path), "ekb", lines, ())
    return Description(
        str(path), "ekb", (*lines, *model_lines(facts)), facts.layers, facts.ram_bytes
    )


def _bundle_lines(manifest: Manifest, bundle_id: str) -> tuple[str, ...]:
    gate = manifest.gate
    verdict = "passed" if gate.passed else f"failed, forced: {gate.forced_reason}"
    artifacts = (
        f"artifact {a.target}/{a.format}: {a.bytes} bytes, latency {estimate_text(a.latency)}, "
        f"RAM {estimate_text(a.ram)}, flash {estimate_text(a.flash)}"
        for a in manifest.artifacts
    )
    return (
        f"bundle {manifest.name}, id {bundle_id}",
        f"accuracy on validation: {accuracy_text(manifest)}",
        f"gate: {verdict}",
        *artifacts,
    )


def _contract_lines(bundle: Bundle) -> tuple[str, ...]:
    contract = bundle.contract
    spec = contract.input
    return (
        f"contract: {tensor_text(spec.name, spec.shape, spec.dtype, '')} into "
        f"{len(contract.classes)} classes: {', '.join(contract.classes)}",
    )


def _bundle_model(bundle: Bundle) -> ModelFacts | None:
    """Layers of the first artifact that a reader knows; generated C has none to read."""
    readers = {"tflite": _tflite_facts, "onnx": _onnx_facts}
    for artifact in bundle.manifest.artifacts:
        if artifact.format in readers:
            place = f"{bundle.source}: {artifact.path}"
            return readers[artifact.format](bundle.read(artifact.path), place)
    return None


def _tflite_facts(data: bytes, source: str) -> ModelFacts:
    from .inspect_tflite import read_tflite

    return read_tflite(data, source)


def _onnx_facts(data: bytes, source: str) -> ModelFacts:
    from .inspect_onnx import read_onnx

    return read_onnx(data, source)


def _describe_tflite(path: Path) -> Description:
    return _model(path, "tflite", _tflite_facts(_bytes(path), str(path)))


def _describe_onnx(path: Path) -> Description:
    return _model(path, "onnx", _onnx_facts(_bytes(path), str(path)))


def _describe_program(path: Path) -> Description:
    from .inspect_graph import read_program

    return _model(path, "pt2", read_program(path))


def _describe_arrays(path: Path) -> Description:
    from .inspect_data import read_arrays

    return Description(str(path), "npz", read_arrays(path), ())


def _model(path: Path, kind: str, facts: ModelFacts) -> Description:
    lines = model_lines(facts) if facts.input else facts.remarks
    return Description(str(path), kind, lines, facts.layers, facts.ram_bytes)


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ImportModelError(f"{path}: {size} bytes; files up to 1 GiB are read")
        return path.read_bytes()
    except OSError as error:
        raise ImportModelError(f"{path}: cannot read it: {error.strerror}") from error


_READERS: Mapping[str, Callable[[Path], Description]] = {
    "ekb": _describe_bundle,
    "tflite": _describe_tflite,
    "onnx": _describe_onnx,
    "pt2": _describe_program,
    "npz": _describe_arrays,
}
