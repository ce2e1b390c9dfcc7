"""Fit the instruction tables of `targets/cores/`, and print them as TOML.

    python -m benchmarks.fit_cores [CORE …]

Probe models are compiled to C with the kernels that are fastest on the core and run on its emulated
board; instructions are counted, exact and repeatable. A table of them holds for every device with
that core: a clock and cycles per instruction make it into time. The operators are those of the
usual probes and every other that generated C has.
"""

from __future__ import annotations

import sys
from dataclasses import astuple, dataclass, fields, replace

from edgekiln.compiler.emit_c_operators import C_OPERATORS
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.layer_counts import layer_instructions
from edgekiln.compiler.oracles import tool_version
from edgekiln.compiler.probe_extras import EXTRAS
from edgekiln.compiler.probes import more_probes, probe_graphs
from edgekiln.compiler.workload import workload
from edgekiln.targets.emulate import missing_tools
from edgekiln.targets.evidence import Tier
from edgekiln.targets.fit import Sample, fit_cost_table
from edgekiln.targets.machines import MACHINES
from edgekiln.targets.target import CostTable, Memory, OpCost, Runtime, Target

SEED = 0
ALONE = (0, 1)  # seeds of the probes of one operator
# One instruction takes 1 µs at one cycle each and this clock: costs are read as instructions.
CLOCK_HZ = 1_000_000
CORES = ("cortex-m55",)  # of whose kernels no loops are counted


@dataclass(frozen=True, slots=True)
class Fitted:
    """A table whose microseconds are instructions, and the probes that it stands on."""

    table: CostTable
    source: str


def main(arguments: list[str]) -> int:
    """Print the table of every core that is named, by default of all."""
    for core in arguments or CORES:
        if absent := missing_tools(MACHINES[core].tools):
            print(f"{core}: not installed: {', '.join(absent)} (make system)", file=sys.stderr)
            return 2
        print(_text(core, fit(core)), flush=True)
    return 0


def fit(core: str) -> Fitted:
    """The instruction table of generated C on an emulated core.

    Networks set the interval and the costs of what they hold; each other operator is priced from
    probes of it alone, which are easier to predict and so say nothing of the interval. An operator
    whose work the fit gives to its neighbours is left out: it is not free, its cost is not known.
    """
    target = _instruction_counter(core)
    networks = [_sample(graph, target) for graph in probe_graphs(SEED)]
    ops = [op.value for op in EXTRAS if op in C_OPERATORS]
    alone = [_sample(graph, target) for seed in ALONE for graph in more_probes(ops, seed)]
    table = fit_cost_table(networks, "c", "int8", Tier.T2, "probes-c")
    both = fit_cost_table([*networks, *alone], "c", "int8", Tier.T2, "probes-c")
    extra = {op: cost for op, cost in both.ops.items() if any(astuple(cost)[1:])}
    tools = ", ".join(tool_version(tool) for tool in MACHINES[core].tools if tool != "gcc")
    source = (
        f"{len(networks)} networks and {len(alone)} operators alone, generated C, instructions "
        f"under emulation, {tools}; python -m benchmarks.fit_cores {core}"
    )
    return Fitted(replace(table, ops={**extra, **table.ops}), source)


def _sample(graph: Graph, target: Target) -> Sample:
    return Sample(workload(graph), float(sum(layer_instructions(graph, target))))


def _instruction_counter(core: str) -> Target:
    return Target(
        id=core,
        title=core,
        device_class="mcu",
        core=core,
        clock_hz=CLOCK_HZ,
        memory=Memory(ram=1 << 20, flash=1 << 22),
        runtime=Runtime("c"),
        formats=("c",),
        ops={},
        cycles_per_instruction=(1.0, 1.0, 1.0),
    )


def _text(core: str, fitted: Fitted) -> str:
    table = fitted.table
    lines = [
        f"# targets/cores/{core}.toml",
        "[[costs]]",
        'unit = "instructions"',
        'engine = "c"',
        'dtype = "int8"',
        'tier = "T2"',
        'evidence = "probes-c"',
        f"low_ratio = {table.low_ratio:.4g}",
        f"high_ratio = {table.high_ratio:.4g}",
        f"per_run = {table.per_run_us:.6g}",
        f"samples = {table.samples}",
        f"heldout_median_ape = {table.heldout_median_ape:.4g}",
        "",
        "[costs.ops]",
        *(f"{op} = {_inline(cost)}" for op, cost in sorted(table.ops.items())),
        "",
        "[[evidence]]",
        'id = "probes-c"',
        'tier = "T2"',
        f'source = "{fitted.source}"',
    ]
    return "\n".join(lines) + "\n"


def _inline(cost: OpCost) -> str:
    """Microseconds are instructions, nanoseconds thousandths of them; zeros are left out."""
    names = ("per_call", "per_mac", "per_byte", "per_output", "per_im2col_byte", "per_tail_mac")
    scales = (1.0, *[1e-3] * 5)
    figures = [getattr(cost, field.name) for field in fields(cost) if field.name != "loops"]
    parts = [
        f"{name} = {figure * scale:.6g}"
        for name, figure, scale in zip(names, figures, scales, strict=True)
        if figure
    ]
    return f"{{ {', '.join(parts)} }}" if parts else "{}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
