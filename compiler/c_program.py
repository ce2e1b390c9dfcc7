"""`Program`: the model.c of generated C, taken apart into parameters and functions, and put
together again so that every learned number comes from the context's image.

Parameters that were constants become variables of the function that calls the kernel: their learned
fields are read from the image at each call, which costs a few loads beside the layer's work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .c_learned import Numbers
from .emit_c_text import statement
from .errors import EmitError

_PARAMS = re.compile(r"^static const (ek_\w+) (\w+)(\[\d+\])? =\s(.*?);\n", re.M | re.S)
_STRIPS = re.compile(
    r"^static EK_NOINLINE void (ek_strips_\d+)\(const int8_t \*input, int8_t \*output,\n"
    r"    int8_t \*scratch\) \{\n(.*?)^\}\n",
    re.M | re.S,
)
_INVOKE = re.compile(r"^void model_invoke\(model \*m\) \{\n(.*?)^\}\n", re.M | re.S)
_STEP = re.compile(r"^    /\* (\w+): .*?^    LAYER_DONE\(\d+\);\n", re.M | re.S)
_USED = re.compile(r"&(\w+)\b")
_IMAGE = "const unsigned char *image"


@dataclass(frozen=True, slots=True)
class _Params:
    """One definition; `text` has the learned numbers as macros."""

    kind: str
    name: str
    size: str
    text: str

    @property
    def definition(self) -> str:
        return statement(f"const {self.kind} {self.name}{self.size}", self.text)


@dataclass(frozen=True, slots=True)
class Program:
    """Text before the functions that change, those functions, and the calls of one inference."""

    prologue: str  # includes, model_input, model_output, the hook
    params: Mapping[str, _Params]
    strips: Mapping[str, str]  # bodies by function
    views: str  # of the arena, in model_invoke
    steps: tuple[tuple[str, str], ...]  # (symbol, text) of each call

    @property
    def layers(self) -> Iterator[tuple[str, str]]:
        """(name, text) of each layer: its parameters, its call and what that runs."""
        for symbol, text in self.steps:
            bodies = [self.strips[name] for name in self.strips if f" {name}(" in text]
            used = dict.fromkeys(_USED.findall("".join((text, *bodies))))
            params = [self.params[name].definition for name in used if name in self.params]
            yield symbol, "".join((*params, *bodies, text))

    def header(self, model_h: str, structure: bytes) -> str:
        """model.h of the program."""
        octets = ", ".join(f"0x{octet:02x}" for octet in structure)
        parts = model_h.partition("} model;\n")
        if not parts[1]:
            raise EmitError("model.h: it has no context")
        before = re.sub(r"/\* All memory of one instance[^*]*\*/\n", _CONTEXT, parts[0])
        after = parts[2].lstrip("\n")
        return (
            f"{before}    const void *image; /* null: the one that the program was built with */\n"
            f"}} model;\n\n{_USE}{_ENDS}"
            f"/* What an image must be made for. */\n#define MODEL_STRUCTURE \\\n"
            f"{_wrapped(octets)}\n\n{after}"
        )

    def source(self, macros: str) -> str:
        """model.c of the program, with `macros` for what lies in the image."""
        return "".join((self.prologue, _FUNCTIONS, macros, "\n", *self._strips(), *self._invoke()))

    def _strips(self) -> Iterator[str]:
        for name, body in self.strips.items():
            used = dict.fromkeys(_USED.findall(body))
            yield f"static EK_NOINLINE void {name}({_IMAGE}, const int8_t *input,\n"
            yield "    int8_t *output, int8_t *scratch) {\n"
            yield from (_indented(self.params[sym].definition) for sym in used)
            yield f"{body}}}\n\n"

    def _invoke(self) -> Iterator[str]:
        yield f"void model_invoke(model *m) {{\n{self.views}"
        if not self.steps:
            yield "    (void)m;\n}\n"
            return
        yield f"    {_IMAGE} = image_of(m);\n    (void)image;\n"
        for _, text in self.steps:
            used = [name for name in _USED.findall(text) if name in self.params]
            call = re.sub(r"^    (ek_strips_\d+)\(", r"    \1(image, ", text, flags=re.M)
            if used:
                (name,) = used
                definition = _indented(_indented(self.params[name].definition))
                remark, _, rest = call.partition("\n")
                kernel, _, done = rest.partition(";\n")
                call = f"{remark}\n    {{\n{definition}    {kernel};\n    }}\n{done}"
            yield call
        yield "}\n"


def read_program(model_c: str, numbers: Numbers) -> Program:
    """A model.c taken apart; `numbers` gets its learned scalars. Raises EmitError."""
    params = {
        name: _Params(kind, name, size, numbers.moved(kind, text))
        for kind, name, size, text in _PARAMS.findall(model_c)
    }
    strips = dict(_STRIPS.findall(model_c))
    invoke = _INVOKE.search(model_c)
    if invoke is None:
        raise EmitError("model.c: it has no model_invoke")
    steps = tuple((found.group(1), found.group(0)) for found in _STEP.finditer(invoke.group(1)))
    views = _STEP.sub("", invoke.group(1)).replace("    (void)m;\n", "")
    rest = _INVOKE.sub("", _STRIPS.sub("", _PARAMS.sub("", model_c)))
    prologue = re.sub(r"\n{3,}", "\n\n", rest).rstrip("\n") + "\n\n"
    return Program(prologue, params, strips, views, steps)


_CONTEXT = """\
/* All memory of one instance. Where it is not zero from the start, model_use comes before anything
 * else. */
"""

_USE = """\
/* From the next invoke on, with this image: 8-aligned memory that stays as it is; null: the one
 * that the program was built with. */
void model_use(model *m, const void *image);

"""

_ENDS = """\
/* Of the image in use: real = scale * (q - zero point); 0 where there are no codes. */
float model_input_scale(const model *m);
int32_t model_input_zero_point(const model *m);
float model_output_scale(const model *m);
int32_t model_output_zero_point(const model *m);

"""

_FUNCTIONS = """\
static const unsigned char *image_of(const model *m) {
    return m->image ? m->image : (const unsigned char *)model_factory_image;
}

void model_use(model *m, const void *image) {
    m->image = image;
}

float model_input_scale(const model *m) {
    return *(const float *)(const void *)(image_of(m) + 32);
}

int32_t model_input_zero_point(const model *m) {
    return *(const int32_t *)(const void *)(image_of(m) + 36);
}

float model_output_scale(const model *m) {
    return *(const float *)(const void *)(image_of(m) + 40);
}

int32_t model_output_zero_point(const model *m) {
    return *(const int32_t *)(const void *)(image_of(m) + 44);
}

"""


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _wrapped(octets: str) -> str:
    words = octets.split(", ")
    rows = (", ".join(words[at : at + 8]) for at in range(0, len(words), 8))
    return "    {" + ", \\\n     ".join(rows) + "}"
