"""A whole life of updates on emulated cores: real kernels, real signatures, power that goes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.c_image import Updatable, updatable
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_c_family import Family
from edgekiln.compiler.firmware import Identity, build_firmware
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import run_int8
from edgekiln.runtime.envelope import HEAD_BYTES, Addressee, seal
from edgekiln.targets.emulate import build_image, run_image
from edgekiln.targets.machines import MACHINES

HERE = Path(__file__).parent
TENANT, TARGET = "plant", "board"
REASONS = {"fine": 0, "envelope": 1, "key": 3, "signature": 4, "class": 5, "structure": 6}
REASONS |= {"counter": 7, "refused": 8, "running": 9, "damaged": 10, "answers": 11, "later": 16}
FACTORY, SLOT_A, SLOT_B = range(3)


def network(seed: int, width: int = 3) -> Graph:
    """A small quantized network: the seed decides its weights, `width` its structure."""
    rng = np.random.default_rng(seed)
    build = GraphBuilder("net", (1, 8, 8, 2))
    weights = rng.normal(0, 0.5, (width, 3, 3, 2)).astype(np.float32)
    x = build.conv2d(build.input, weights, activation=Activation.RELU)
    x = build.depthwise_conv2d(x, rng.normal(0, 0.5, (1, 3, 3, width)).astype(np.float32))
    x = build.reshape(x, (1, 16 * width))
    last = rng.normal(0, 0.5, (5, 16 * width)).astype(np.float32)
    samples = rng.normal(0, 1, (32, 8, 8, 2)).astype(np.float32)
    return quantize(build.finish(build.fully_connected(x, last)), samples)


def program(graph: Graph, family: Family) -> Updatable:
    codes = np.random.default_rng(9).integers(-128, 128, (2, 8, 8, 2)).astype(np.int8)
    return updatable(emit_c(graph, codes, family).files, "", 2)


def answer(graph: Graph) -> bytes:
    """What session.c prints of a model."""
    codes: npt.NDArray[np.int8] = (np.arange(128) % 100).astype(np.int8)
    return run_int8(graph, codes.reshape(1, 8, 8, 2)).tobytes()


def updates_c(updates: list[bytes]) -> Mapping[str, bytes]:
    rows = (", ".join(map(str, data)) for data in updates)
    arrays = "".join(f"static const uint8_t u{i}[] = {{{row}}};\n" for i, row in enumerate(rows))
    names = ", ".join(f"u{i}" for i in range(len(updates)))
    sizes = ", ".join(str(len(data)) for data in updates)
    header = (
        f"#include <stdint.h>\n#define UPDATES {len(updates)}\n"
        "extern const uint8_t *const updates[UPDATES];\n"
        "extern const uint32_t update_bytes[UPDATES];\n"
    )
    source = (
        f'#include "updates.h"\n{arrays}const uint8_t *const updates[UPDATES] = {{{names}}};\n'
        f"const uint32_t update_bytes[UPDATES] = {{{sizes}}};\n"
    )
    return {"updates.h": header.encode(), "updates.c": source.encode()}


def flipped(update: bytes, at: int) -> bytes:
    return update[:at] + bytes((update[at] ^ 4,)) + update[at + 1 :]


def wrong_answers(image: bytes) -> bytes:
    """The image with other weights under the same golden vectors."""
    return flipped(image, 50)


@dataclasses.dataclass(frozen=True)
class Life:
    """One update that the device is offered, and what is expected of it."""

    update: bytes
    reason: str
    outcome: int
    place: int
    graph: Graph


def lives(family: Family, key: Ed25519PrivateKey) -> Iterator[Life]:
    """Two good updates, every kind of bad one, and a good one at the end."""
    factory, one, two, three = (network(seed) for seed in range(4))
    structure = program(factory, family).structure
    images = [program(graph, family) for graph in (one, two, three)]
    assert {made.structure for made in images} == {structure}
    who = Addressee.of(TENANT, TARGET)

    def sealed(image: bytes, counter: int, **changes: object) -> bytes:
        options = {"addressee": who, "structure": structure, "key": key, **changes}
        return seal(image, release=bytes(32), security_counter=counter, **options)  # type: ignore[arg-type]

    first, second = sealed(images[0].image, 1), sealed(images[1].image, 2)
    third = sealed(images[2].image, 2)
    other = program(network(5, width=4), family)
    yield Life(first, "fine", 1, SLOT_A, one)
    yield Life(second, "fine", 1, SLOT_B, two)
    for update, reason in (
        (second, "running"),
        (first, "counter"),
        (sealed(other.image, 2, structure=other.structure), "structure"),
        (sealed(images[2].image, 2, addressee=Addressee.of(TENANT, "other")), "class"),
        (sealed(images[2].image, 2, key=Ed25519PrivateKey.from_private_bytes(bytes(32))), "key"),
        (flipped(third, HEAD_BYTES - 1), "signature"),
        (flipped(third, 13), "signature"),  # the counter
        (flipped(third, 0), "envelope"),
        (third[: HEAD_BYTES - 1], "later"),
    ):
        yield Life(update, reason, 1, SLOT_B, two)
    for update, reason in (
        (flipped(third, HEAD_BYTES), "damaged"),
        (flipped(third, len(third) - 1), "damaged"),
        (bad := sealed(wrong_answers(images[2].image), 2), "answers"),
        (bad, "refused"),
    ):
        yield Life(update, reason, 2, SLOT_B, two)
    yield Life(third, "fine", 1, SLOT_A, three)


@pytest.mark.slow
@pytest.mark.tool
@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "rv32imc"])
def test_device_runs_the_right_model_when_it_lives_through_every_update(
    core: str,
    release_key: Ed25519PrivateKey,
    tmp_path: Path,
    require_tool: Callable[[str], str],
) -> None:
    machine = MACHINES[core]
    for tool in machine.tools:
        require_tool(tool)
    family = Family.DSP if core == "cortex-m4" else Family.PORTABLE
    expected = list(lives(family, release_key))
    public = release_key.public_key().public_bytes_raw()
    identity = Identity(TENANT, TARGET, "0" * 64, 1, (bytes(32), public))
    files = build_firmware(program(network(0), family), identity)
    folder, build = tmp_path / "firmware", tmp_path / "build"
    folder.mkdir()
    build.mkdir()
    for name, data in {**files, **updates_c([life.update for life in expected])}.items():
        (folder / name).write_bytes(data)
    shutil.copy(HERE / "session.c", folder / "main.c")
    _, text = run_image(build_image(folder, machine, build), machine)
    first, *lines, cuts, _ = text.splitlines()
    assert bytes.fromhex(first) == answer(network(0))
    for life, line in zip(expected, lines, strict=True):
        reason, outcome, place, digits = line.split()
        assert int(reason) == REASONS[life.reason], life.reason
        assert (int(outcome), int(place)) == (life.outcome, life.place), life.reason
        assert bytes.fromhex(digits) == answer(life.graph), life.reason
    assert int(cuts.removeprefix("cuts ")) > 12
