"""`emulate_folder`: run a folder of generated C on an emulated core and count its instructions.

The folder holds C99 files; `main.c` keeps the model in a static variable `context`, reads
`ek_port.h` when `EK_PORT` is defined (emulator/ek_port.h), encloses each `model_invoke` call with
`ek_probe_begin` and `ek_probe_end`, prints each output as one line of hexadecimal digits and
returns 0 or 1; `weights.c` holds the parameters and nothing else.

QEMU has no timing model, so the figure is instructions, exact and repeatable: a plugin counts
them from the first instruction of `model_invoke` to its return. Code is compiled with -O2: the
kernels' loops are what the time goes into, and -Os would trade it for a few hundred bytes.
"""

from __future__ import annotations

import atexit
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import BrokenImageError, MeasurementError, MissingToolError
from .evidence import Estimate, Footprint, Tier
from .machines import MACHINES, PACKAGES, Machine
from .target import Target

HARNESS = Path(__file__).parent / "emulator"
TIMEOUT_S = 120
EVIDENCE_ID = "qemu-instructions"
IMAGE_EVIDENCE_ID = "linked-image"
# Between model_invoke's return and the first instruction of ek_probe_end stands one branch.
CALL_INSTRUCTIONS = 1
COMPILE_FLAGS = (
    *("-std=gnu99", "-O2", "-g0", "-DEK_PORT", "-ffreestanding", "-ffunction-sections"),
    *("-fdata-sections", "-fno-tree-loop-distribute-patterns", "-fno-common", "-w"),
)
_MODEL_CODE = "ek_text_start"  # of emulator/link.ld: what lies before is the harness
_FAULT = 70  # exit code of emulator/harness.h
LINK_FLAGS = ("-nostdlib", "-Wl,--gc-sections", "-Wl,--build-id=none")


# What the Cortex-M boards need, and the Debian packages.
TOOLS = {tool: PACKAGES[tool] for tool in MACHINES["cortex-m4"].tools}


@dataclass(frozen=True, slots=True)
class Emulation:
    """One run of a folder's golden vectors.

    `instructions` is the most that any of the invokes took; `outputs` are all outputs in order,
    whether or not they equal what `main.c` expects. Bytes are the model's alone, without the
    harness: `code_bytes` with constants of the layers, `ram_bytes` static memory,
    `stack_bytes` the deepest stack below the caller of `model_invoke`.
    """

    instructions: int
    outputs: bytes
    code_bytes: int
    weight_bytes: int
    ram_bytes: int
    stack_bytes: int

    @property
    def ram_total_bytes(self) -> int:
        """Static memory and stack."""
        return self.ram_bytes + self.stack_bytes

    @property
    def flash_bytes(self) -> int:
        """Code, constants and parameters."""
        return self.code_bytes + self.weight_bytes


def missing_tools(tools: Iterable[str] = TOOLS) -> tuple[str, ...]:
    """Those of `tools`, by default what the Cortex-M boards need, that are not installed."""
    return tuple(tool for tool in tools if shutil.which(tool) is None)


def latency_from_instructions(target: Target, instructions: int) -> Estimate:
    """Milliseconds on `target`: instructions times cycles per instruction over the clock.

    Raises MeasurementError where the profile states no cycles per instruction.
    """
    if target.cycles_per_instruction is None:
        msg = f"target '{target.id}' states no cycles_per_instruction; add it to its profile"
        raise MeasurementError(msg)
    low, value, high = (
        instructions * cycles * 1e3 / target.clock_hz for cycles in target.cycles_per_instruction
    )
    return Estimate(value, low, high, "ms", Tier.T2, EVIDENCE_ID)


def image_footprint(latency: Estimate | None, emulation: Emulation) -> Footprint:
    """RAM and flash (T2) of the linked image of a model, which takes `latency`.

    RAM is static memory and the deepest stack that was seen, flash is code and constants; memory
    that the firmware around the model needs is the profile's reserve.
    """
    return Footprint(
        latency=latency,
        ram=Estimate.exact(emulation.ram_total_bytes, "bytes", Tier.T2, IMAGE_EVIDENCE_ID),
        flash=Estimate.exact(emulation.flash_bytes, "bytes", Tier.T2, IMAGE_EVIDENCE_ID),
    )


def emulate_folder(folder: Path, target: Target) -> Emulation:
    """Build the C files of `folder` for the core of `target`, run them, and count.

    Raises MissingToolError where a tool is absent, BrokenImageError where the code does not compile
    or faults, MeasurementError where it does not fit the board's 4 MiB of code and 4 MiB of RAM, or
    hangs.
    """
    machine = machine_of(target)
    with tempfile.TemporaryDirectory(prefix="edgekiln-emulate-") as name:
        image = build_image(folder, machine, Path(name))
        counts, text = run_image(image, machine)
        return emulation_of(image, machine, counts, text)


def emulation_of(image: Path, machine: Machine, counts: list[int], text: str) -> Emulation:
    """The figures of a run of `image`: `counts` and `text` are what `run_image` gave."""
    outputs, stack = _parse(text)
    sizes = _section_sizes(image, machine)
    return Emulation(
        instructions=max(counts) - CALL_INSTRUCTIONS,
        outputs=outputs,
        code_bytes=sizes.get(".text", 0) + sizes.get(".model_data", 0),
        weight_bytes=sizes.get(".weights", 0),
        ram_bytes=sizes.get(".model_ram", 0) + sizes.get(".model_data", 0),
        stack_bytes=stack,
    )


def _require_tools(machine: Machine) -> None:
    absent = missing_tools(machine.tools)
    if absent:
        packages = " ".join(PACKAGES[tool] for tool in absent)
        mend = f"install with `make system` (apt-get install {packages})"
        raise MissingToolError(f"{', '.join(absent)} not found; {mend}")


def machine_of(target: Target) -> Machine:
    """The machine of the core of `target`. Raises MeasurementError, MissingToolError."""
    machine = MACHINES.get(target.core.lower())
    if machine is None:
        known = ", ".join(sorted(MACHINES))
        msg = f"target '{target.id}': core '{target.core}' has no emulated board; known: {known}"
        raise MeasurementError(msg)
    _require_tools(machine)
    return machine


def build_image(folder: Path, machine: Machine, build: Path) -> Path:
    """The image of the C files of `folder`, in the folder `build`. Raises MeasurementError."""
    sources = sorted(folder.resolve().glob("*.c"))
    if not sources:
        raise MeasurementError(f"{folder}: no C files to build")
    _compile(sources, machine, f"{folder}: compile", build)
    objects = [f"{path.stem}.o" for path in sources]
    for made in _harness(machine):
        shutil.copy(made, build)  # the linker script knows it by its name
        objects.append(made.name)
    places = zip(("code", "ram"), (machine.code, machine.ram), strict=True)
    memory = [
        f"-Wl,--defsym=ek_{name}_{what}={number}"
        for name, place in places
        for what, number in zip(("origin", "length"), place, strict=True)
    ]
    link = ("-T", str(HARNESS / "link.ld"), *objects, "-lgcc", "-o", "image.elf")
    linker = (f"{machine.prefix}gcc", *machine.flags, *LINK_FLAGS)
    _call((*linker, *memory, *link), f"{folder}: link", build)
    return build / "image.elf"


def run_image(image: Path, machine: Machine, *options: str) -> tuple[list[int], str]:
    """Instruction counts of each invoke, and what the program printed.

    `options` are further arguments of the counting plugin.
    """
    printed, counted = image.with_name("printed.txt"), image.with_name("counts.txt")
    symbols = _symbols(image, machine)
    if "model_invoke" not in symbols:
        raise MeasurementError("the C files have no function model_invoke to count")
    begin, end = (symbols[name] & ~1 for name in ("model_invoke", "ek_probe_end"))
    plugin = (str(_plugin()), f"begin={begin}", f"end={end}", f"out={counted}")
    command = (
        *(*machine.qemu, "-M", machine.board, "-kernel", str(image)),
        *("-display", "none", "-monitor", "none", "-serial", "none"),
        *("-chardev", f"file,id=printed,path={printed}"),
        *("-semihosting-config", "enable=on,target=native,chardev=printed"),
        *("-plugin", ",".join((*plugin, *options))),
    )
    result = _process(command, image.parent)
    if result.returncode == _FAULT:
        raise BrokenImageError(f"{machine.board}: the image faulted")
    if result.returncode not in (0, 1):
        detail = result.stderr.strip() or "the emulator says no more"
        raise MeasurementError(f"{machine.board}: exit code {result.returncode}: {detail}")
    counts = [int(line) for line in counted.read_text().split()]
    if not counts:
        raise MeasurementError(f"{machine.board}: the image ran no invoke: {result.stderr.strip()}")
    return counts, printed.read_text()


def _parse(text: str) -> tuple[bytes, int]:
    """Outputs and stack bytes from the printed lines."""
    *lines, last = text.splitlines()
    try:
        return bytes.fromhex("".join(lines)), int(last.removeprefix("stack "))
    except ValueError as error:
        raise MeasurementError(f"main.c prints other than hexadecimal digits: {error}") from error


def _symbols(image: Path, machine: Machine) -> dict[str, int]:
    listing = _call((f"{machine.prefix}nm", str(image)), "nm", image.parent)
    rows = (line.split() for line in listing.splitlines())
    return {row[-1]: int(row[0], 16) for row in rows if len(row) == 3}


def functions_of(image: Path, machine: Machine) -> tuple[tuple[int, str], ...]:
    """(address, name) of the functions of the model in `image`, by rising address."""
    start = _symbols(image, machine)[_MODEL_CODE]
    listing = _call((f"{machine.prefix}nm", "-n", str(image)), "nm", image.parent)
    rows = [line.split() for line in listing.splitlines()]
    functions = ((int(row[0], 16) & ~1, row[2]) for row in rows if row[1] in "tT")
    return tuple(pair for pair in functions if pair[0] >= start and pair[1] != _MODEL_CODE)


def _section_sizes(image: Path, machine: Machine) -> dict[str, int]:
    listing = _call((f"{machine.prefix}size", "-A", "-d", str(image)), "size", image.parent)
    return {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", listing, re.M)}


def _compile(sources: Iterable[Path], machine: Machine, what: str, build: Path) -> None:
    """An object file in `build` for each of `sources`."""
    compiler = (f"{machine.prefix}gcc", *machine.flags, *COMPILE_FLAGS, "-I", str(HARNESS))
    _call((*compiler, "-c", *map(str, sources)), what, build, BrokenImageError)


@functools.cache
def _built() -> Path:
    """A folder for what is built once in a process; it goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="edgekiln-built-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _harness(machine: Machine) -> tuple[Path, ...]:
    """The object files of the harness for `machine`."""
    sources = [HARNESS / "harness.c", HARNESS / machine.harness]
    folder = Path(tempfile.mkdtemp(dir=_built()))
    _compile(sources, machine, "harness: compile", folder)
    return tuple(folder / f"{path.stem}.o" for path in sources)


@functools.cache
def _plugin() -> Path:
    """The counting plugin."""
    folder = _built()
    library = folder / "count.so"
    command = ("gcc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", str(HARNESS / "count.c"))
    _call((*command, "-o", str(library)), "counting plugin: compile", folder)
    return library


def _call(
    command: tuple[str, ...],
    what: str,
    cwd: Path,
    failure: type[MeasurementError] = MeasurementError,
) -> str:
    """Standard output; a `failure` is one line with the tool's first complaint."""
    result = _process(command, cwd)
    if result.returncode != 0:
        lines = result.stderr.splitlines() or ["no message"]
        complaints = [line for line in lines if re.search(r"\berror\b|\bld: ", line)]
        detail = next((line for line in complaints if "warning" not in line), lines[0])
        raise failure(f"{what} failed: {detail}")
    return result.stdout


def _process(command: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        msg = f"{command[0]} did not end within {TIMEOUT_S} s"
        raise MeasurementError(msg) from error
