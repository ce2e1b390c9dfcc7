"""A microcontroller in this process: the C library of updates on flash that forgets nothing.

Flash is modelled truthfully: erasing sets a page to 0xFF, programming only clears bits, in aligned
units of 32 bytes, each once after its page was erased. Power can go at any operation, within it
too: then the operation has done nothing, all, or left any bits, and nothing reaches flash until the
reset.
"""

from __future__ import annotations

import ctypes
import hashlib
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import edgekiln.runtime
from edgekiln.runtime.envelope import Addressee, seal

LIBRARY = Path(edgekiln.runtime.__file__).parent / "c" / "update"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion")
WARNINGS += ("-Wshadow", "-Wundef", "-Wvla", "-Wcast-align", "-Wstrict-prototypes", "-Werror")
WARNINGS += ("-Wmissing-prototypes",)
ADDRESSEE = Addressee.of("plant", "board")
STRUCTURE = hashlib.sha256(b"structure").digest()
UNIT = 32
GOLDEN_BYTES = 16

Read = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32
)
Erase = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
Address = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
Fetch = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32
)
Run = ctypes.CFUNCTYPE(
    *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32),
    *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32),
)
Verify = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p),
    *(ctypes.c_uint32, ctypes.c_void_p),
)


class CPort(ctypes.Structure):
    """ek_port, with the ek_flash in it."""

    _fields_ = (
        ("context", ctypes.c_void_p),
        ("page_bytes", ctypes.c_uint32),
        ("slot_bytes", ctypes.c_uint32),
        ("read", Read),
        ("erase", Erase),
        ("program", Read),
        ("address", Address),
        ("fetch", Fetch),
        ("run", Run),
        ("verify", Verify),
    )


class CDevice(ctypes.Structure):
    """ek_device."""

    _fields_ = (
        ("vendor_id", ctypes.c_char_p),
        ("class_id", ctypes.c_char_p),
        ("structure", ctypes.c_char_p),
        ("keys", ctypes.c_char_p),
        ("key_count", ctypes.c_uint32),
        ("factory_counter", ctypes.c_uint32),
        ("self_tests", ctypes.c_uint8),
        ("trial_boots", ctypes.c_uint8),
    )


class CRecord(ctypes.Structure):
    """ek_record."""

    _fields_ = (
        ("sequence", ctypes.c_uint32),
        ("floor", ctypes.c_uint32),
        ("state", ctypes.c_uint8),
        ("tries", ctypes.c_uint8),
        ("active", ctypes.c_uint8),
        ("candidate", ctypes.c_uint8),
        ("outcome", ctypes.c_uint8),
        ("reason", ctypes.c_uint8),
        ("running", ctypes.c_uint8 * 32),
        ("previous", ctypes.c_uint8 * 32),
        ("offered", ctypes.c_uint8 * 32),
    )


class CUpdate(ctypes.Structure):
    """The beginning of ek_update, and room for the rest."""

    _fields_ = (
        ("port", ctypes.c_void_p),
        ("device", ctypes.c_void_p),
        ("record", CRecord),
        ("running", ctypes.c_int),
        ("on_trial", ctypes.c_int),
        ("rest", ctypes.c_uint8 * 4096),
    )


IDLE, FETCHING, STAGED, TRIAL = range(4)
COMMITTED, REJECTED, ROLLED_BACK = 1, 2, 3
NOTHING, MORE, WAIT, READY, ENDED = range(5)


def make_image(weights: bytes, vectors: int = 2, wrong: bool = False) -> bytes:
    """An image as ek_image.h says; its "model" answers with a hash of weights and input."""
    start = 48 + len(weights)
    inputs = [hashlib.md5(bytes([i])).digest() for i in range(vectors)]
    outputs = [answer(weights, data) for data in inputs]
    if wrong:
        outputs[-1] = bytes(GOLDEN_BYTES)
    body = bytes(16) + weights + b"".join(inputs) + b"".join(outputs)
    total = -(-(32 + len(body)) // UNIT) * UNIT
    sizes = (total, start, vectors, GOLDEN_BYTES, GOLDEN_BYTES, 0)
    head = b"EKIMAGE1" + b"".join(n.to_bytes(4, "little") for n in sizes)
    return (head + body).ljust(total, b"\0")


def answer(weights: bytes, data: bytes) -> bytes:
    return hashlib.sha256(weights + data).digest()[:GOLDEN_BYTES]


@dataclass
class Board:
    """Flash, keys and network of one device; `boot` is a reset."""

    library: ctypes.CDLL
    keys: tuple[Ed25519PrivateKey, ...]
    page_bytes: int = 512
    slot_bytes: int = 8192
    factory_counter: int = 1
    self_tests: int = 2
    trial_boots: int = 3
    seed: int = 0
    server: bytes = b""
    cut_at: int | None = None  # the flash operation at which power goes
    cut_kind: str = "torn"  # none | torn | all of it
    broken: bool = False  # flash can be read and does nothing else
    dead_cell: tuple[int, int] | None = None  # area and place of a byte that is always 0xFF
    garbled: int = 0  # so many blocks come with a bit flipped, then no more
    weak: int = 0  # the operation that leaves a byte as it was and says that all is well
    hang: bool = False  # the model does not come back: the watchdog resets
    operations: int = 0
    erased: int = 0
    dead: bool = False
    fetched: list[tuple[int, int]] = field(default_factory=list)
    runs: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        sizes = (self.page_bytes, self.page_bytes, self.slot_bytes, self.slot_bytes)
        self.flash = [(ctypes.c_uint8 * size)(*self.rng.randbytes(size)) for size in sizes]
        self.written: list[set[int]] = [set(range(size // UNIT)) for size in sizes]
        self.verified: dict[bytes, int] = {}
        flash = (Read(self._read), Erase(self._erase), Read(self._program), Address(self._address))
        rest = (Fetch(self._fetch), Run(self._run), Verify(self._verify))
        self.port = CPort(None, self.page_bytes, self.slot_bytes, *flash, *rest)
        raw = b"".join(key.public_key().public_bytes_raw() for key in self.keys)
        self.device = CDevice(
            *(ADDRESSEE.vendor_id, ADDRESSEE.class_id, STRUCTURE, raw, len(self.keys)),
            *(self.factory_counter, self.self_tests, self.trial_boots),
        )
        self.output = (ctypes.c_uint8 * GOLDEN_BYTES)()
        self.update = CUpdate()

    # What the firmware does.

    def boot(self) -> None:
        """A reset: power is back, RAM is anything."""
        self.dead, self.cut_at = False, None
        self.update = CUpdate()
        ctypes.memset(ctypes.byref(self.update), 0xA5, ctypes.sizeof(self.update))
        self._call("boot", ctypes.byref(self.port), ctypes.byref(self.device))

    def offer(self, update: bytes | None = None) -> int:
        self.server = self.server if update is None else update
        return self._call("offer")

    def step(self) -> int:
        return self._call("step")

    def run(self) -> int:
        """Steps until there is nothing left to do."""
        progress = MORE
        while progress == MORE and not self.dead:
            progress = self.step()
        return progress

    def confirm(self) -> int:
        return self._call("confirm")

    def reject(self) -> int:
        return self._call("reject")

    def install(self, update: bytes) -> int:
        """Offer, fetch, test, boot on trial, confirm; the reason where it is not taken."""
        reason = self.offer(update)
        if reason or self.run() != READY:
            return reason or self.record.reason
        self.boot()
        return self.confirm()

    @property
    def record(self) -> CRecord:
        return self.update.record

    @property
    def image(self) -> bytes | None:
        """The bytes that run; None: the firmware's own."""
        self.library.ek_update_image.restype = ctypes.c_void_p
        place = self.library.ek_update_image(ctypes.byref(self.update))
        if place is None:
            return None
        size = int.from_bytes(ctypes.string_at(place + 8, 4), "little")
        return ctypes.string_at(place, size)

    def _call(self, name: str, *rest: object) -> int:
        found: int = getattr(self.library, f"ek_update_{name}")(ctypes.byref(self.update), *rest)
        return found

    # What the C library calls.

    def _goes(self) -> bool:
        """Counts an operation; whether power goes within it."""
        self.operations += 1
        self.dead = self.cut_at is not None and self.operations > self.cut_at
        return self.dead

    def _read(self, _: int, area: int, offset: int, to: int, count: int) -> int:
        if self.dead:
            return 1
        assert offset + count <= len(self.flash[area])
        ctypes.memmove(to, ctypes.addressof(self.flash[area]) + offset, count)
        return 0

    def _erase(self, _: int, area: int, offset: int) -> int:
        if self.dead or self.broken:
            return 1
        assert offset % self.page_bytes == 0
        self._change(area, offset, b"\xff" * self.page_bytes, erasing=True)
        self.erased += 1
        return int(self.dead)

    def _program(self, _: int, area: int, offset: int, source: int, count: int) -> int:
        if self.dead:
            return 1
        assert offset % UNIT == 0
        assert count % UNIT == 0
        units = range(offset // UNIT, (offset + count) // UNIT)
        assert not self.written[area].intersection(units), "programmed without an erase"
        self._change(area, offset, ctypes.string_at(source, count), erasing=False)
        return int(self.dead)

    def _change(self, area: int, offset: int, data: bytes, erasing: bool) -> None:
        cells = self.flash[area]
        units = set(range(offset // UNIT, (offset + len(data)) // UNIT))
        torn = self._goes()
        if torn and self.cut_kind == "none":
            return
        if not torn or self.cut_kind == "all":
            self.written[area] = (
                self.written[area] - units if erasing else self.written[area] | units
            )
            for i, byte in enumerate(data):
                if self.operations != self.weak or i != 7:
                    cells[offset + i] = byte if erasing else cells[offset + i] & byte
            if self.dead_cell is not None:
                self.flash[self.dead_cell[0]][self.dead_cell[1]] = 0xFF
            return
        self.written[area] |= units
        end = self.rng.randrange(len(data) + 1)
        for i, byte in enumerate(data):
            mask = self.rng.randrange(256) if i >= end else 0  # what it did not get to
            if erasing:
                cells[offset + i] |= ~mask & 0xFF
            else:
                cells[offset + i] &= byte | mask

    def _address(self, _: int, area: int) -> int:
        return ctypes.addressof(self.flash[area])

    def _fetch(self, _: int, offset: int, to: int, count: int) -> int:
        piece = self.server[offset : offset + count]
        if self.dead or len(piece) != count:
            return 1
        self.fetched.append((offset, count))
        if self.garbled and len(self.fetched) > 4:
            self.garbled -= 1
            piece = piece[:-1] + bytes((piece[-1] ^ 1,))
        ctypes.memmove(to, piece, count)
        return 0

    def _run(self, _: int, image: int, index: int, data: int, count: int, out: int) -> int:
        self.runs += 1
        if self.hang:
            self.dead = True
        if self.dead or (count, out) != (GOLDEN_BYTES, GOLDEN_BYTES):
            return 0
        start = int.from_bytes(ctypes.string_at(image + 12, 4), "little")
        weights = ctypes.string_at(image + 48, start - 48)
        found = answer(weights, ctypes.string_at(data, count))
        ctypes.memmove(self.output, found, len(found))
        return ctypes.addressof(self.output)

    def _verify(self, _: int, key: int, message: int, count: int, signature: int) -> int:
        parts = [ctypes.string_at(*part) for part in ((key, 32), (message, count), (signature, 64))]
        seen = b"".join(parts)
        if seen not in self.verified:
            self.verified[seen] = self.library.ek_ed25519_verify(
                parts[0], parts[1], count, parts[2]
            )
        return self.verified[seen]


BuildLibrary = Callable[..., ctypes.CDLL]


@pytest.fixture(scope="session")
def build_library(
    tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]
) -> BuildLibrary:
    """Flags -> the C library as a shared object that ends where its behaviour is not defined."""

    def build(*flags: str) -> ctypes.CDLL:
        out = tmp_path_factory.mktemp("update") / "update.so"
        sources = sorted(str(path) for path in LIBRARY.glob("*.c") if path.name != "ek_model.c")
        command = (require_tool("gcc"), *WARNINGS, "-O2", "-shared", "-fPIC", *flags)
        trap = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
        subprocess.run((*command, *trap, *sources, "-o", str(out)), check=True)
        return ctypes.CDLL(str(out))

    return build


@pytest.fixture(scope="session")
def update_library(build_library: BuildLibrary) -> ctypes.CDLL:
    """The library as this machine has it."""
    return build_library()


@pytest.fixture(scope="session")
def make_bad() -> Callable[[], bytes]:
    """An image whose second golden vector the model does not reproduce."""
    return lambda: make_image(random.Random(2).randbytes(3000), wrong=True)


@pytest.fixture(scope="session")
def make_long() -> Callable[[], bytes]:
    """An image with six golden vectors."""
    return lambda: make_image(random.Random(3).randbytes(300), vectors=6)


@pytest.fixture(scope="session")
def release_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def new_board(update_library: ctypes.CDLL, release_key: Ed25519PrivateKey) -> Callable[..., Board]:
    """Options of a Board -> a device that was never updated; its flash holds noise."""

    def make(**options: object) -> Board:
        return Board(update_library, **{"keys": (release_key,), **options})  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def sealed(release_key: Ed25519PrivateKey) -> Callable[..., bytes]:
    """(seed, options) -> the update of an image of 3,000 random bytes."""

    def make(
        seed: int,
        counter: int = 1,
        image: bytes | None = None,
        key: Ed25519PrivateKey = release_key,
        addressee: Addressee = ADDRESSEE,
        structure: bytes = STRUCTURE,
        block_bytes: int = 256,
    ) -> bytes:
        data = make_image(random.Random(seed).randbytes(3000)) if image is None else image
        release = hashlib.sha256(data).digest()
        return seal(data, addressee, structure, release, counter, key, block_bytes)

    return make
