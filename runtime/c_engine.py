"""Generated C as a shared library (`c_library.library_of`): no interpreter, no package."""

from __future__ import annotations

import numpy as np

from .c_library import CLibrary
from .engines import OutputScale, as_logits, check_scale, filling
from .lanes import Lanes
from .options import DEFAULT_OPTIONS, EngineOptions
from .quant import FloatArray, Logits


class CEngine:
    """A context for each sample that may be answered at once; a model that remembers has one."""

    def __init__(
        self, artifact: bytes, output: OutputScale, options: EngineOptions = DEFAULT_OPTIONS
    ) -> None:
        self._library = library = CLibrary(artifact)
        check_scale(library.output, output)
        self.input, self.outputs = library.input, library.output.elements
        self._scale = output
        count = 1 if library.remembers else options.parallel
        self.lanes = Lanes([CLane(library, output) for _ in range(count)])

    def run(self, x: FloatArray) -> Logits:
        """See `Engine.run`."""
        codes = self.input.accept(filling(x, self.input.elements))
        with self.lanes.one() as lane:
            found = self._library.run(lane.context, codes)
        return as_logits(found, self._scale)

    def reset(self) -> None:
        """See `Engine.reset`."""
        if self._library.remembers:
            self.lanes.forget()


class CLane:
    """A context with an input and an output of its own."""

    def __init__(self, library: CLibrary, output: OutputScale) -> None:
        self.context = library.context()
        self._library = library
        self._scale = output
        self._direct = library.output.holds_codes
        self.input = np.zeros(library.input.elements, library.input.dtype)
        self._found = np.zeros(library.output.elements, library.output.dtype)
        self._call = library.caller(self.context, self.input, self._found)

    def run(self) -> Logits:
        """See `Lane.run`; the GIL is released."""
        self._call()
        found = self._found.copy()
        return found if self._direct else as_logits(found, self._scale)

    def forget(self) -> None:
        """See `Lane.forget`."""
        self._library.reset(self.context)
