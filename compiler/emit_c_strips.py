"""A chain of layers as one call: a function of model.c that runs their kernels strip by strip.

The kernels are those that the layers have alone, with the windows of a strip as parameters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from .emit_c_family import Family
from .emit_c_layer import Layer
from .emit_c_layers import layer
from .emit_c_text import statement
from .graph import Graph, Node
from .ops import ConvAttrs
from .plan import ALIGNMENT
from .plan_rules import sharing
from .strips import Chain, CutChain, Strip, padding_above, part_of, strips


def strip_layer(
    graph: Graph, chain: Chain, rows: int, family: Family, indices: Mapping[str, int]
) -> Layer | None:
    """`chain` in strips of `rows` rows; `indices` are those of the calls by their outputs.

    None where a layer's weights would be packed in another way than for the whole image.
    """
    cut = tuple(strips(graph, chain.depthwise, rows))
    parts = tuple(_part(graph, chain, node, cut, family, indices) for node in chain.nodes)
    if any(part is None for part in parts):
        return None
    return _Strips(graph, chain, cut, tuple(p for p in parts if p is not None)).layer()


@dataclass(frozen=True, slots=True)
class _Part:
    """One layer of the chain; `params` are its different parameters, `of_strip` which are whose."""

    whole: Layer
    params: tuple[str, ...]
    of_strip: tuple[int, ...]
    scratch_bytes: int
    in_place: bool  # outputs may begin at the buffer's first byte, below the inputs

    @property
    def text(self) -> str:
        """The definition of the parameters."""
        declaration = f"static const {self.whole.params_type} {self.whole.symbol}"
        return statement(f"{declaration}[{len(self.params)}]", f"{{{', '.join(self.params)}}}")

    def call(self, strip: int, source: str, to: str, scratch: str) -> str:
        last = f", {scratch}" if self.whole.scratch_bytes else ""
        place = f"&{self.whole.symbol}[{self.of_strip[strip]}]"
        return f"    {self.whole.kernel}({place}, {source}, {to}{last});\n"


def _part(
    graph: Graph,
    chain: Chain,
    node: Node,
    cut: Sequence[Strip],
    family: Family,
    indices: Mapping[str, int],
) -> _Part | None:
    index = indices[node.output]
    whole = layer(graph, node, index, family)
    kinds: dict[tuple[int, int, int, int], Layer] = {}
    made, in_place = [], True
    for strip in cut:
        kind = strip.high - strip.low, strip.kept, strip.rows, padding_above(chain, strip)
        if kind not in kinds:
            part_graph, part_node = part_of(graph, chain, node, strip)
            kinds[kind] = layer(part_graph, part_node, index, family)
            overlap = sharing(part_graph, part_node, kinds[kind].kernel).output
            in_place &= overlap is not None and overlap.allows(-_start(graph, chain))
        made.append(kinds[kind])
    if any((m.kernel, m.constants) != (whole.kernel, whole.constants) for m in kinds.values()):
        return None
    params = tuple(dict.fromkeys(m.params for m in made))
    return _Part(
        whole,
        params,
        tuple(params.index(m.params) for m in made),
        max(m.scratch_bytes for m in made),
        in_place,
    )


@dataclass(frozen=True, slots=True)
class _Strips:
    """Where things lie in scratch: the depthwise's outputs or inputs, then what kernels take."""

    graph: Graph
    chain: Chain
    cut: tuple[Strip, ...]
    parts: tuple[_Part, ...]

    def layer(self) -> Layer:
        """The call."""
        whole = [part.whole for part in self.parts]
        symbol = f"strips_{whole[0].symbol.rsplit('_', 1)[1]}"
        names = " and ".join(part.symbol for part in whole)
        shapes = (
            " x ".join(map(str, self.graph.values[name].shape[1:]))
            for name in (self.chain.source, self.chain.output)
        )
        sources = ", ".join(node.source for node in self.chain.nodes if node.source)
        remark = f"{symbol}: {' -> '.join(shapes)}, {names} in {len(self.cut)} strips"
        return Layer(
            symbol=symbol,
            header="ek_strips.h",
            kernel=f"ek_{symbol}",
            params_type="",
            params="",
            constants=tuple(constant for part in whole for constant in part.constants),
            operands=(self.chain.source,),
            listed=False,
            as_bytes=False,
            output=self.chain.output,
            scratch_bytes=self._inner + max(part.scratch_bytes for part in self.parts),
            remark=f"{remark}; from {sources}" if sources else remark,
            parts=tuple(whole),
            chain=CutChain(self.chain, self.cut),
            definition="".join(part.text + "\n" for part in self.parts)
            + "".join(self._body(symbol)),
        )

    @property
    def _row(self) -> int:
        """Bytes of a row of the depthwise's input."""
        return _row_bytes(self.graph, self.chain.depthwise.inputs[0])

    @property
    def _out_row(self) -> int:
        return _row_bytes(self.graph, self.chain.depthwise.output)

    @property
    def _start(self) -> int:
        return _start(self.graph, self.chain)

    @property
    def _inputs_end(self) -> int:
        """Where the depthwise's inputs end at most."""
        if self.chain.expand is None:
            return 0
        return self._start + max(s.high - s.low for s in self.cut) * self._row

    @property
    def _between(self) -> int:
        """Where the depthwise's outputs begin that another layer reads."""
        depthwise = self.parts[0 if self.chain.expand is None else 1]
        return 0 if depthwise.in_place else self._inputs_end

    @property
    def _inner(self) -> int:
        """Where the scratch of kernels begins."""
        outputs = max(s.rows for s in self.cut) * self._out_row if self.chain.project else 0
        used = max(self._inputs_end, self._between + outputs)
        return -(-used // ALIGNMENT) * ALIGNMENT

    def _body(self, symbol: str) -> Iterator[str]:
        yield f"static EK_NOINLINE void ek_{symbol}(const int8_t *input, int8_t *output,\n"
        yield "    int8_t *scratch) {\n"
        for _, run in itertools.groupby(range(len(self.cut)), self._kind):
            indices = list(run)
            calls = self._calls(indices)
            if len(indices) == 1:
                yield from calls
            else:
                yield f"    for (int32_t i = 0; i < {len(indices)}; i++) {{\n"
                yield from (f"    {line}" for line in calls)
                yield "    }\n"
        yield "}\n"

    def _kind(self, index: int) -> tuple[object, ...]:
        """Strips of one kind in a row differ in nothing but where their rows are."""
        strip = self.cut[index]
        shape = strip.rows, strip.high - strip.low, strip.kept, self._moved(index)
        return (*shape, *(part.of_strip[index] for part in self.parts))

    def _moved(self, index: int) -> int:
        """How far what is kept moves."""
        return (self.cut[index].low - self.cut[index - 1].low) * self._row if index else 0

    def _calls(self, indices: Sequence[int]) -> Iterator[str]:
        """What model.c does for a strip, or for each of several of one kind."""
        index, chain, parts = indices[0], self.chain, iter(self.parts)
        strip = self.cut[index]
        scratch, inputs = f"scratch + {self._inner}", f"scratch + {self._start}"
        firsts = [self.cut[i].first for i in indices]
        output = _at("output", firsts, _row_bytes(self.graph, chain.output))
        if chain.expand:
            kept = strip.kept * self._row
            if kept:
                moved = self._start + self._moved(index)
                yield f"    ek_copy_bytes(scratch + {moved}, {kept}, {inputs});\n"
            expand = next(parts)
            if strip.low + strip.kept < strip.high:
                news = [self.cut[i].low + self.cut[i].kept for i in indices]
                source = _at("input", news, _row_bytes(self.graph, chain.source))
                yield expand.call(index, source, f"{inputs} + {kept}", scratch)
        else:
            inputs = _at("input", [self.cut[i].low for i in indices], self._row)
        between = f"scratch + {self._between}" if chain.project else output
        yield next(parts).call(index, inputs, between, scratch)
        if chain.project:
            yield next(parts).call(index, between, output, scratch)


def _at(base: str, rows: Sequence[int], row_bytes: int) -> str:
    """Where row `rows[i]` begins, for one row or for the i of a loop."""
    first = f"{base} + {rows[0] * row_bytes}"
    if len(rows) == 1:
        return first
    steps = {after - before for before, after in itertools.pairwise(rows)}
    assert len(steps) == 1, rows
    return f"{first} + i * {steps.pop() * row_bytes}"


def _start(graph: Graph, chain: Chain) -> int:
    """Where the depthwise's inputs begin in the buffer.

    Its outputs begin below them where another layer reads those: by the padding, so that the first
    strip's never reach the rows that are kept.
    """
    if chain.expand is None or chain.project is None:
        return 0
    attrs = chain.depthwise.attrs
    assert isinstance(attrs, ConvAttrs)
    return attrs.padding[0][0] * _row_bytes(graph, chain.depthwise.inputs[0])


def _row_bytes(graph: Graph, name: str) -> int:
    _, _, width, channels = graph.values[name].shape
    return width * channels
