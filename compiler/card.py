"""`card.md`: what a person should know about a model before it runs somewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edgekiln.runtime.contract import Contract
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Manifest
from edgekiln.targets.evidence import Tier

from .input_schema import preprocessing_text
from .parity import Certificate


def write_card(
    manifest: Manifest,
    contract: Contract,
    certificate: Certificate,
    data_name: str,
    notes: Sequence[str],
) -> bytes:
    """Markdown from the manifest alone: the same inputs give the same bytes."""
    parts = (
        _head(manifest, contract, certificate, data_name),
        _accuracy(manifest),
        _artifacts(manifest.artifacts),
        _gate(manifest.gate),
        _parity(certificate),
        _notes(notes),
        _origin(manifest),
    )
    return ("\n\n".join("\n".join(part) for part in parts if part) + "\n").encode()


def estimate_text(record: EstimateRecord | None) -> str:
    """A number with its interval, unit, and the word that its tier allows."""
    if record is None:
        return "not known"
    tier = Tier[record.tier]
    spread = "" if record.low == record.high else f" ({record.low:.4g} to {record.high:.4g})"
    value = f"{record.value:.0f}" if record.unit == "bytes" else f"{record.value:.4g}"
    return f"{value} {record.unit}{spread}, {tier.word} {tier.name}"


def accuracy_text(manifest: Manifest) -> str:
    """Both accuracies, or the one of a model that came quantized."""
    numerics = sorted({artifact.numerics for artifact in manifest.artifacts})
    compiled = f"{'+'.join(numerics).removesuffix('.v1')} {manifest.accuracy_int8:.4f}"
    if manifest.accuracy_float is None:
        return f"{compiled}, no float model"
    return f"float {manifest.accuracy_float:.4f}, {compiled}"


def _head(
    manifest: Manifest, contract: Contract, certificate: Certificate, data_name: str
) -> list[str]:
    spec = contract.input
    unit = f" in {spec.unit}" if spec.unit else ""
    steps = preprocessing_text(contract.preprocessing)
    return [
        f"# {manifest.name}",
        "",
        f"A classifier of `{spec.name}` {spec.shape}{unit} into {len(contract.classes)} classes "
        f"({', '.join(contract.classes)}), made from the data set {data_name}. Preprocessing on "
        f"the device: {steps}. Numerics: {certificate.numerics}.",
    ]


def _accuracy(manifest: Manifest) -> list[str]:
    return [
        "## Accuracy",
        "",
        f"On the validation split: {accuracy_text(manifest)}. The validation split also chose "
        "between candidates, so expect a little less on new data. The test split was not opened.",
    ]


def _artifacts(artifacts: Iterable[Artifact]) -> list[str]:
    rows = [
        f"| {a.target} | {a.format} | {a.bytes} | {estimate_text(a.latency)} "
        f"| {estimate_text(a.ram)} | {estimate_text(a.flash)} |"
        for a in artifacts
    ]
    head = "| target | format | file bytes | latency | RAM | flash |"
    return ["## Artifacts", "", head, "|---|---|---|---|---|---|", *rows]


def _gate(gate: Gate) -> list[str]:
    verdict = "Passed." if gate.passed else f"Failed, and forced: {gate.forced_reason}"
    rows = (f"- {'ok' if check.passed else 'FAILED'}: {check.message}" for check in gate.checks)
    return ["## Gate", "", verdict, "", *rows]


def _parity(certificate: Certificate) -> list[str]:
    rows = [
        f"| {r.engine} | {r.form} | {r.samples} | {r.distance} | {r.label_flips} | {r.bound} |"
        for r in certificate.engines
    ]
    head = "| engine | format | samples | largest difference | label flips | bound |"
    return ["## Parity with the integer reference", "", head, "|---|---|---|---|---|---|", *rows]


def _notes(notes: Sequence[str]) -> list[str]:
    return ["## Notes", "", *(f"- {note}" for note in notes)] if notes else []


def _origin(manifest: Manifest) -> list[str]:
    return ["## Origin", "", *_origin_rows(manifest)]


def _origin_rows(manifest: Manifest) -> Iterator[str]:
    lineage = manifest.lineage
    facts = {
        "data sha256": lineage.data_sha256,
        "search": lineage.search_id,
        "candidate": lineage.candidate_id,
        "parent release": lineage.parent,
        "seed": str(lineage.seed),
    }
    yield from (f"- {name}: {value}" for name, value in facts.items() if value)
    yield from (f"- {name}: {version}" for name, version in sorted(manifest.tools.items()))
