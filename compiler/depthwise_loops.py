"""Loops of the depthwise kernels: channel by channel on a padded plane.

ek_dsp_depthwise.h and ek_dsp_depthwise_any.h of the dsp family, ek_depthwise_conv2d.c of the
portable one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from .emit_c_call import finish
from .emit_c_depthwise import any_window_slide, quads, row_blocks
from .emit_c_family import Family
from .graph import Graph, Node
from .plan_rules import slide_of
from .plan_steps import Slide

Passes = Mapping[str, int]
UNROLLED_PLANE = 4  # of ek_plane.h
_PLAIN = (3, 3), (1, 1)  # kernel and dilation of kernels of their own


def depthwise_passes(graph: Graph, node: Node, family: Family) -> tuple[str, Passes]:
    """The kernel of a depthwise convolution in `family`, and how often its loops are passed."""
    slide = slide_of(graph, node)
    outputs = graph.values[node.output].elements
    finished = {f"outputs_{finish(graph, node)}": outputs}
    if (slide.kernel, slide.dilation) == _PLAIN:
        if family is not Family.DSP:
            return "depthwise_3x3", _plane(slide) | Counter(outputs=outputs)
        return _three_by_three(slide, finished)
    turned = any_window_slide(slide) if family is Family.DSP else None
    if turned is not None:
        passes = _plane(turned) | Counter(finished) | _any_windows(turned)
        return "dsp_depthwise_any", passes
    height, width = slide.kernel
    passes = Counter(outputs=outputs, window_rows=outputs * height, taps=outputs * height * width)
    return "depthwise", _plane(slide) | passes


def _plane(slide: Slide) -> Counter[str]:
    """ek_plane_clear once, ek_plane_copy for each channel of the input, rows of outputs."""
    height, width, in_channels = slide.image
    plane, channels = slide.plane, slide.out[2]
    rows = min(height, plane[0] - slide.before[0]) * in_channels
    columns, phases = min(width, plane[1] - slide.before[1]), slide.dilation[1]
    runs = [-(-(columns - first) // phases) for first in range(min(phases, columns))]
    return Counter(
        cleared=plane[0] * phases * -(-plane[1] // phases),
        channels=channels,
        copies=in_channels,
        copied_rows=rows * len(runs),
        copied4=rows * sum(run // UNROLLED_PLANE for run in runs),
        copied1=rows * sum(run % UNROLLED_PLANE for run in runs),
        rows=slide.out[0] * channels,
    )


def _three_by_three(slide: Slide, finished: Passes) -> tuple[str, Passes]:
    """ek_dsp_depthwise.h: two outputs of a row at a time."""
    out_height, out_width, channels = slide.out
    passes = _plane(slide) | Counter(finished)
    if slide.stride[1] != 1:
        return "dsp_depthwise_strided", passes
    pairs, odd = divmod(out_width, 2)
    rows = out_height * channels
    return "dsp_depthwise", passes | Counter(pairs=rows * pairs, odd=rows * odd)


def _any_windows(slide: Slide) -> Counter[str]:
    """ek_dsp_depthwise_any.h: four or two windows of a row at a time, for each phase of columns."""
    (height, width), (out_height, out_width, channels) = slide.kernel, slide.out
    phases = min(slide.dilation[1], out_width)
    fours = twos = 0
    for phase in range(phases):
        count = -(-(out_width - phase) // slide.dilation[1])
        if slide.stride[1] == 1:
            fours += (count + 1) // 4
            count = max(0, count - 4 * ((count + 1) // 4))
        twos += -(-count // 2)
    blocks = tuple(row_blocks(width))
    in_quads, ones = sum(map(quads, blocks)), sum(taps % 4 == 1 for taps in blocks)
    passes = Counter(
        phases=phases * out_height * channels,
        unpacked_rows=channels * height * len(blocks),
        unpacked_quads=channels * height * in_quads,
        unpacked_ones=channels * height * ones,
    )
    for name, count in (("fours", fours), ("twos", twos)):
        windows = count * out_height * channels
        passes |= Counter(
            {
                name: windows,
                f"{name}_blocks": windows * (len(blocks) - 1),
                f"{name}_rows": windows * height * len(blocks),
                f"{name}_quads": windows * height * in_quads,
                f"{name}_ones": windows * height * ones,
            }
        )
    return passes
