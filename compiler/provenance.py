"""Digests of what went into a compile, and versions of what worked on it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
import numpy as np

from edgekiln.targets.machines import MACHINES, PACKAGES
from edgekiln.targets.target import Target

from .graph import Graph
from .oracles import distribution_version, tool_version
from .recipe import DEFAULT_RECIPE
from .request import CompileRequest

_DISTRIBUTIONS = ("edgekiln", "numpy", "ai-edge-litert", "flatbuffers")
_OPTIONAL = ("tflite-micro",)  # a row of the certificate where it is installed
_BY_FORMAT: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "onnx": (("onnx", "onnxruntime"), ()),
    "c": ((), ("gcc",)),
}


def input_digests(request: CompileRequest, graph: Graph) -> dict[str, str]:
    """Hex sha256 of every input by name: data, model, teacher, calibration, base, settings,
    recipe, targets.

    The default recipe has no entry: it is part of this package's version.
    """
    digests = {"data": request.dataset.sha256, "settings": settings_digest(request)}
    if isinstance(request.model, Path):
        digests["model"] = file_digest(request.model)
    else:
        digests["model"] = graph_digest(graph)
    if request.teacher is not None:
        digests["teacher"] = file_digest(request.teacher)
    if request.calibration is not None:
        digests["calibration"] = request.calibration.sha256
    if request.update is not None:
        digests["base"] = file_digest(request.update.base)
    if request.recipe != DEFAULT_RECIPE:
        encoded = msgspec.json.encode(request.recipe, order="sorted")
        digests["recipe"] = hashlib.sha256(encoded).hexdigest()
    for wanted in request.targets:
        digests[f"target:{wanted.target.id}"] = target_digest(wanted.target)
    return digests


def tool_versions(request: CompileRequest, formats: Iterable[str]) -> dict[str, str]:
    """Versions of everything whose version can change a byte or a number of the bundle."""
    names: list[str] = list(_DISTRIBUTIONS)
    tools: list[str] = []
    for fmt in formats:
        distributions, commands = _BY_FORMAT.get(fmt, ((), ()))
        names += distributions
        tools += commands
    if isinstance(request.model, Path):
        names.append("torch")
    for wanted in request.targets:
        machine = MACHINES.get(wanted.target.core.lower())
        tools += machine.tools if machine else ()
    names += [name for name in _OPTIONAL if distribution_version(name) != "absent"]
    versions = {name: distribution_version(name) for name in names}
    versions.update({tool: tool_version(tool) for tool in tools})
    return {"python": platform.python_version(), **versions}


def version_here(name: str) -> str:
    """The version on this machine of something that `tool_versions` names."""
    if name == "python":
        return platform.python_version()
    if name in PACKAGES:
        return tool_version(name)
    return distribution_version(name)


def file_digest(path: Path) -> str:
    """Hex sha256 of a file that has been read before."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def target_digest(target: Target) -> str:
    """Hex sha256 of the profile as it was used, its cost tables included."""
    return hashlib.sha256(msgspec.json.encode(target, order="sorted")).hexdigest()


def settings_digest(request: CompileRequest) -> str:
    """Hex sha256 of the choices: seed, limits, distillation, and each target's wishes."""
    wishes = [(w.target.id, w.formats, w.budget) for w in request.targets]
    choices = (request.seed, request.limits, request.distillation, wishes)
    return hashlib.sha256(msgspec.json.encode(choices, order="sorted")).hexdigest()


def graph_digest(graph: Graph) -> str:
    """Hex sha256 of a float graph: its nodes, shapes and constants."""
    digest = hashlib.sha256()
    for node in graph.nodes:
        digest.update(f"{node.op}|{node.inputs}|{node.outputs}|{node.attrs}\n".encode())
    for name, value in sorted(graph.values.items()):
        digest.update(f"{name}|{value.shape}|{value.dtype}\n".encode())
        if value.data is not None:
            digest.update(np.ascontiguousarray(value.data).tobytes())
    return digest.hexdigest()
