"""`describe`: what is inside a bundle, a TFLite, an ONNX or a torch.export file.

Layers are what the file computes, in order, with multiply-accumulates for a batch of one. One
reader for each format, chosen by the suffix; a file that cannot be read is one line that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekiln.runtime.bundle import Bundle, open_bundle
from edgekiln.runtime.manifest import Manifest

from .card import accuracy_text, estimate_text
from .errors import ImportModelError, UnsupportedOpError
from .graph import Graph, Value
from .workload import workload


@dataclass(frozen=True, slots=True)
class LayerDescription:
    """One operator: `shape` and `dtype` are its output's, `quantization` is empty for floats."""

    name: str
    op: str
    shape: tuple[int, ...]
    dtype: str
    macs: int
    weight_bytes: int
    quantization: str


@dataclass(frozen=True, slots=True)
class Description:
    """`headline` is for people, one fact a line; the rest is the same as data."""

    path: str
    kind: str  # ekb | tflite | onnx | pt2
    headline: tuple[str, ...]
    layers: tuple[LayerDescription, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all constants that the layers read."""
        return sum(layer.weight_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a format's reader finds: tensors as text, layers in order, and remarks."""

    input: str
    output: str
    layers: tuple[LayerDescription, ...]
    remarks: tuple[str, ...] = ()


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


def quantization_text(scales: Iterable[float], zero_points: Iterable[int]) -> str:
    """One scale in full, several as their number and range."""
    scale, zero = tuple(scales), tuple(zero_points)
    if not scale:
        return ""
    if len(scale) == 1:
        return f"scale {scale[0]:.6g}, zero point {zero[0] if zero else 0}"
    return f"{len(scale)} scales {min(scale):.3g} to {max(scale):.3g}"


def tensor_text(name: str, shape: Iterable[int | str], dtype: str, quantization: str) -> str:
    """A tensor in one line."""
    dims = "×".join(str(size) for size in shape)
    return f"{name} {dims} {dtype}" + (f", {quantization}" if quantization else "")


def _describe_bundle(path: Path) -> Description:
    bundle = open_bundle(path)
    facts = _bundle_model(bundle)
    lines = (*_bundle_lines(bundle.manifest, bundle.bundle_id), *_contract_lines(bundle))
    totals = _model_lines(facts) if facts else ()
    return Description(str(path), "ekb", (*lines, *totals), facts.layers if facts else ())


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
    facts = _tflite_facts(path.read_bytes(), str(path))
    return Description(str(path), "tflite", _model_lines(facts), facts.layers)


def _describe_onnx(path: Path) -> Description:
    facts = _onnx_facts(path.read_bytes(), str(path))
    return Description(str(path), "onnx", _model_lines(facts), facts.layers)


def _describe_program(path: Path) -> Description:
    """The graph that would be compiled; a model that cannot be, is described as torch has it."""
    from .importers.torch_export import import_torch, load_program
    from .passes import optimize

    program = load_program(path)
    try:
        facts = _graph_facts(optimize(import_torch(program, path.stem)))
    except UnsupportedOpError as error:
        rows = tuple(
            LayerDescription(node.name, str(node.target), *_torch_output(node), 0, 0, "")
            for node in program.graph.nodes
            if node.op == "call_function"
        )
        headline = (f"cannot be compiled: {error}", f"{len(rows)} torch operators")
        return Description(str(path), "pt2", headline, rows)
    return Description(str(path), "pt2", _model_lines(facts), facts.layers)


def _torch_output(node: object) -> tuple[tuple[int, ...], str]:
    """Shape and dtype of a torch node's output; a free batch axis counts as 1."""
    value = getattr(node, "meta", {}).get("val")
    shape = tuple(size if isinstance(size, int) else 1 for size in getattr(value, "shape", ()))
    return shape, str(getattr(value, "dtype", "")).removeprefix("torch.")


def _graph_facts(graph: Graph) -> ModelFacts:
    work = workload(graph)
    rows = []
    for node, layer in zip(graph.nodes, work.layers, strict=True):
        output = graph.values[node.output]
        constants = (graph.values[name] for name in node.inputs)
        weight_bytes = sum(value.nbytes for value in constants if value.data is not None)
        rows.append(
            LayerDescription(
                node.name,
                node.op.value,
                output.shape,
                output.dtype.value,
                layer.macs,
                weight_bytes,
                _value_quantization(output),
            )
        )
    return ModelFacts(_value_text(graph.input), _value_text(graph.output), tuple(rows))


def _value_text(value: Value) -> str:
    return tensor_text(value.name, value.shape, value.dtype.value, _value_quantization(value))


def _value_quantization(value: Value) -> str:
    quant = value.quant
    return "" if quant is None else quantization_text(quant.scale, quant.zero_point)


def _model_lines(facts: ModelFacts) -> tuple[str, ...]:
    macs = sum(layer.macs for layer in facts.layers)
    weight_bytes = sum(layer.weight_bytes for layer in facts.layers)
    return (
        f"input {facts.input}",
        f"output {facts.output}",
        f"{len(facts.layers)} layers, {macs:,} MACs, {weight_bytes:,} bytes of weights",
        *facts.remarks,
    )


_READERS: Mapping[str, Callable[[Path], Description]] = {
    "ekb": _describe_bundle,
    "tflite": _describe_tflite,
    "onnx": _describe_onnx,
    "pt2": _describe_program,
}
