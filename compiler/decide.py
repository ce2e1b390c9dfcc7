"""`decide`: from ranges to the encoding of every value, by `quant_rules` and the recipe.

Weights are symmetric, one scale for each output channel, but for fully connected layers where that
would cost much (`_dense_scales`). Activations are asymmetric int8 over a range that includes zero,
or symmetric int16. Biases are int32 beside int8 and int64 beside int16. Operands that are constants
are encoded as activations are, over their own range. Scales are float32 numbers, as the file
formats store them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .encoding import Encoding, QuantizationPlan
from .graph import DType, Graph, Node, QuantParams
from .islands import float_islands, island_note
from .observers import Range
from .ops import Op
from .quant_rules import RULES, QuantRule
from .recipe import DEFAULT_RECIPE, ActivationFormat, Recipe
from .sharing import Sharing, share
from .svdf_scales import svdf_scales
from .weight_scales import half_weights, weights_and_bias

_DEAD_RANGE = 4e-6  # an activation that never moves further than this carries nothing
_FINEST_STEPS = 256.0  # of an output to one step of its coarser operand
_FINEST = {Op.HARD_SWISH: 64.0}  # LiteRT's kernel computes in 1/128 of a step
_CHOSEN_OUTPUTS = (QuantRule.WEIGHTED, QuantRule.FREE, QuantRule.RECURRENT)
_PRODUCTS = frozenset({Op.MUL, Op.BATCH_MATMUL})
_FREELY_SCALED = frozenset({Op.EXP, Op.RSQRT, Op.GELU, Op.ELU})
"""Their kernels look codes up or compute them anew: no factor goes from step to step."""

Ranges = Mapping[str, Range]


def decide(graph: Graph, ranges: Ranges, recipe: Recipe = DEFAULT_RECIPE) -> QuantizationPlan:
    """A plan for an optimized float32 `graph` from the range of each of its activations.

    Constants with readers that need different encodings must have been copied (`own_constants`).

    Raises:
        QuantizationError: a node has no integer form, and the recipe forbids islands.
    """
    if recipe.activations is ActivationFormat.FLOAT32:
        return QuantizationPlan({}, halves=half_weights(graph, recipe))
    floating = float_islands(graph, recipe)
    notes = [
        island_note(node, floating[node.name]) for node in graph.nodes if node.name in floating
    ]
    chosen = _Encodings(graph, ranges, recipe, floating)
    for node in graph.nodes:
        if node.name not in floating:
            notes += chosen.add(node)
    return QuantizationPlan(
        chosen.needed(),
        frozenset(floating),
        chosen.requantized(),
        tuple(notes),
        states=chosen.states,
    )


class _Encodings:
    """Encodings so far: first of every group from its range, then node by node."""

    def __init__(
        self, graph: Graph, ranges: Ranges, recipe: Recipe, floating: Mapping[str, str]
    ) -> None:
        self._graph = graph
        self._recipe = recipe
        self._floating = floating
        self._dtype = recipe.activation_dtype
        self._sharing: Sharing = share(graph, floating, self._dtype)
        self._ranges = _group_ranges(graph, ranges, self._sharing)
        self._groups = {
            name: Encoding(self._dtype, _activation_params(self._dtype, *ends))
            for name, ends in self._ranges.items()
        } | {name: Encoding(self._dtype, quant) for name, quant in self._sharing.fixed.items()}
        self._constants: dict[str, Encoding] = {}
        self.states: dict[str, float] = {}

    def add(self, node: Node) -> Iterator[str]:
        """Weights and bias of the node, and an output no finer than its kernel can make."""
        if RULES[node.op] is QuantRule.WEIGHTED:
            found, note = weights_and_bias(
                self._graph, node, self._recipe, self._input_scales(node.inputs[1])
            )
            self._constants |= found
            if note:
                yield note
        if node.op is Op.SVDF:
            if self._recipe.weight_dtype(node.name) is DType.INT4:
                yield f"quantize: '{node.name}' (svdf) keeps int8 weights: there is no int4 form"
            scales = svdf_scales(self._graph, node, self._of(node.inputs[0]).quant)
            self._constants |= scales.encodings
            self.states[node.name] = scales.state_scale
        group = self._sharing.group[node.output]
        if RULES[node.op] in _CHOSEN_OUTPUTS and group in self._ranges:
            finest = self._finest(node)
            if self._groups[group].quant.scale[0] < finest:
                quant = _activation_params(self._dtype, *self._ranges[group], finest)
                self._groups[group] = Encoding(self._dtype, quant)

    def needed(self) -> dict[str, Encoding]:
        """Encodings by value, without those that only float nodes see."""
        seen = {*self._graph.inputs, *self._graph.outputs}
        for node in self._graph.nodes:
            if node.name not in self._floating:
                seen.update((*node.inputs, node.output))
        known = (name for name in self._graph.values if self._sharing.group[name] in self._groups)
        return dict(self._constants) | {
            name: self._of(name) for name in known if name in seen and name not in self._constants
        }

    def requantized(self) -> dict[tuple[str, int], Encoding]:
        """What nodes read in another encoding than the operand's own."""
        outputs = {node.name: node.output for node in self._graph.nodes}
        places = sorted(self._sharing.requantized)
        return {place: self._of(outputs[place[0]]) for place in places}

    def _of(self, name: str) -> Encoding:
        if name in self._constants:
            return self._constants[name]
        return self._groups[self._sharing.group[name]]

    def _input_scales(self, weights: str) -> dict[str, float]:
        """The scale of what each reader of the weights multiplies with them, by its name."""
        return {
            node.name: self._of(node.inputs[0]).quant.scale[0]
            for node in self._graph.consumers(weights)
            if node.name not in self._floating
        }

    def _finest(self, node: Node) -> float:
        """The output scale below which a step holds nothing: kernels would shift left and overflow.

        It binds only where large terms cancel to almost nothing: one step of the accumulator is
        already wider than one step of the output.
        """
        if node.op is Op.SVDF:
            return self.states[node.name] * self._of(node.inputs[2]).quant.scale[0]
        steps = [max(self._of(name).quant.scale) for name in node.inputs[:2]]
        if RULES[node.op] is QuantRule.WEIGHTED or node.op in _PRODUCTS:
            return float(np.nextafter(np.float32(steps[0] * steps[1]), np.float32(np.inf)))
        if node.op in _FREELY_SCALED or node.op is Op.MEAN:
            return 0.0
        return max(steps) / _FINEST.get(node.op, _FINEST_STEPS)


def _group_ranges(graph: Graph, ranges: Ranges, sharing: Sharing) -> dict[str, Range]:
    """The union of what each group's members reach, for groups whose encoding is not given."""
    found: dict[str, Range] = {}
    for name, value in graph.values.items():
        group = sharing.group[name]
        ends = ranges.get(name)
        if value.data is not None and value.dtype is DType.FLOAT32:
            ends = min(0.0, float(value.data.min())), max(0.0, float(value.data.max()))
        if ends is None or group in sharing.fixed:
            continue
        low, high = found.get(group, (0.0, 0.0))
        found[group] = min(low, ends[0]), max(high, ends[1])
    return found


def _activation_params(dtype: DType, low: float, high: float, finest: float = 0.0) -> QuantParams:
    """Scale, at least `finest`, and zero point of a range that includes zero."""
    if dtype is DType.INT16:
        widest = max(high, -low)
        spread = widest / 32767.0 if widest > _DEAD_RANGE else 1.0
        return QuantParams((float(np.float32(max(spread, finest))),), (0,))
    spread = (high - low) / 255.0 if high - low > _DEAD_RANGE else 1.0
    scale = np.float32(max(spread, finest))
    zero_point = int(np.clip(np.rint(-128.0 - low / float(scale)), -128, 127))
    return QuantParams((float(scale),), (zero_point,))
