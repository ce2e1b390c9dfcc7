"""`build_firmware`: what a firmware project links in, so that its model can be updated: the program
whose numbers are an image, the C library of updates, and who this device is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

import edgekiln.runtime
from edgekiln.runtime.contract import Contract
from edgekiln.runtime.envelope import Addressee, public_key_ids

from .c_image import Updatable, updatable
from .c_structure import Part, differing
from .emit_c_text import comment
from .errors import EmitError

RECORD = "firmware.json"
_LIBRARY = Path(edgekiln.runtime.__file__).parent / "c" / "update"


class FirmwareRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`firmware.json`: which updates fit the firmware; it stays with the firmware's sources."""

    tenant: str
    target: str
    release: str  # bundle id of the model that is linked in
    security_counter: int
    parts: tuple[Part, ...]
    schema: int = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who devices with the firmware are: `keys` are raw Ed25519 public keys that they trust."""

    tenant: str
    target: str
    release: str
    security_counter: int
    keys: Sequence[bytes]


def interface_of(contract: Contract) -> str:
    """What an application around a model relies on: what goes in, prepared how, and the classes."""
    fields = (contract.task, contract.input.shape, contract.input.dtype, contract.preprocessing)
    return msgspec.json.encode((*fields, contract.classes)).decode()


def image_of(files: Mapping[str, bytes], contract: Contract, vectors: int) -> Updatable:
    """Program and image of a bundle's generated C. Raises EmitError."""
    return updatable(files, interface_of(contract), vectors)


def build_firmware(program: Updatable, identity: Identity) -> dict[str, bytes]:
    """Files by name, ready to be compiled together with the application's own."""
    record = FirmwareRecord(
        tenant=identity.tenant,
        target=identity.target,
        release=identity.release,
        security_counter=identity.security_counter,
        parts=program.parts,
    )
    library = {
        path.name: path.read_bytes() for path in _LIBRARY.iterdir() if path.suffix in (".c", ".h")
    }
    made = {
        RECORD: msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n",
        "ek_this_device.h": _HEADER.encode("ascii"),
        "ek_this_device.c": _device_c(identity).encode("ascii"),
    }
    return dict(sorted((dict(program.files) | library | made).items()))


def read_record(folder: Path) -> FirmwareRecord:
    """`firmware.json` of an exported folder, whichever layout it has. Raises EmitError."""
    for path in (folder / RECORD, folder / "src" / RECORD):
        if path.is_file():
            try:
                return msgspec.json.decode(path.read_bytes(), type=FirmwareRecord)
            except msgspec.DecodeError as error:
                raise EmitError(f"{path} is no {RECORD}: {error}") from error
    raise EmitError(f"{folder} has no {RECORD}; name the folder that `firmware export` wrote")


def check_fits(record: FirmwareRecord, program: Updatable) -> None:
    """Raises EmitError naming what differs, where the firmware's code cannot run the image."""
    names = differing(record.parts, program.parts)
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise EmitError(
            f"the firmware's code cannot run this release, which differs in: {shown}; devices "
            f"need new firmware for it, made with: edgekiln firmware export"
        )


_HEADER = """\
/* Who this device is and whom it trusts. */
#ifndef EK_THIS_DEVICE_H
#define EK_THIS_DEVICE_H

#include "ek_update_port.h"

extern const ek_device ek_this_device;

#endif
"""


def _device_c(identity: Identity) -> str:
    who = Addressee.of(identity.tenant, identity.target)
    keys = ",\n".join(f"    {_octets(key)}" for key in identity.keys)
    ids = "".join(f"/* key {key_id} */\n" for key_id in public_key_ids(identity.keys))
    return f"""\
/* {comment(identity.tenant)}, {comment(identity.target)}: release {identity.release[:12]}. */
#include "ek_this_device.h"

#include "model.h"

static const uint8_t vendor_id[EK_ID_BYTES] = {_octets(who.vendor_id)};
static const uint8_t class_id[EK_ID_BYTES] = {_octets(who.class_id)};
static const uint8_t structure[EK_DIGEST_BYTES] = MODEL_STRUCTURE;
{ids}static const uint8_t keys[][EK_KEY_BYTES] = {{
{keys}
}};

const ek_device ek_this_device = {{
    .vendor_id = vendor_id,
    .class_id = class_id,
    .structure = structure,
    .keys = keys,
    .key_count = sizeof keys / sizeof *keys,
    .factory_counter = {identity.security_counter}u,
    .self_tests = 3,
    .trial_boots = 3,
}};
"""


def _octets(data: bytes) -> str:
    return "{" + ", ".join(f"0x{octet:02x}" for octet in data) + "}"
