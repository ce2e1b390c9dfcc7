"""Updates of a microcontroller's model: what is taken, what is refused, and every cut between."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgekiln.runtime.envelope import HEAD_BYTES, Addressee, open_update
from edgekiln.runtime.errors import TrustError

from .conftest import make_image

if TYPE_CHECKING:
    from .conftest import Board

NewBoard = Callable[..., "Board"]
Sealed = Callable[..., bytes]

BOARD = Addressee.of("plant", "board")
STRUCTURE = hashlib.sha256(b"structure").digest()  # as conftest.py has it

# ek_reason.h
NO_ENVELOPE, BAD_SIZE, UNKNOWN_KEY, BAD_SIGNATURE, OTHER_CLASS, OTHER_STRUCTURE = range(1, 7)
OLD_COUNTER, REFUSED_BEFORE, ALREADY_RUNNING, DAMAGED, WRONG_ANSWERS = range(7, 12)
NOT_CONFIRMED, TAKEN_BACK, FLASH, BUSY, LATER = range(12, 17)
IDLE, FETCHING, STAGED, TRIAL = range(4)
COMMITTED, REJECTED, ROLLED_BACK = 1, 2, 3
NOTHING, MORE, WAIT, READY, ENDED = range(5)


def flipped(update: bytes, at: int) -> bytes:
    return update[:at] + bytes((update[at] ^ 1,)) + update[at + 1 :]


def image_of(update: bytes) -> bytes:
    head = int.from_bytes(update[16:20], "little")
    return update[-head:]


def test_factory_model_runs_when_flash_is_noise(new_board: NewBoard) -> None:
    board = new_board()
    board.boot()
    assert board.image is None
    assert board.step() == NOTHING
    assert board.operations == 0


def test_image_runs_on_trial_and_then_for_good_when_it_is_good(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, update = new_board(), sealed(1, counter=4)
    board.boot()
    assert board.offer(update) == 0
    assert board.image is None
    assert board.run() == READY
    assert board.image is None
    board.boot()
    assert board.image == image_of(update)
    assert board.update.on_trial
    assert board.step() == NOTHING  # a main loop must not take it for a reason to reset
    assert board.confirm() == 0
    board.boot()
    assert board.image == image_of(update)
    record = board.record
    assert (record.state, record.outcome, record.floor) == (IDLE, COMMITTED, 4)
    assert bytes(record.running) == hashlib.sha256(update[:HEAD_BYTES]).digest()
    assert board.runs == 2
    assert board.offer(update) == ALREADY_RUNNING


def test_slots_take_turns_when_updates_follow(new_board: NewBoard, sealed: Sealed) -> None:
    board = new_board()
    board.boot()
    for seed in range(5):
        assert board.install(sealed(seed)) == 0
        assert board.image == image_of(sealed(seed))
        assert board.record.active == 1 + seed % 2
    assert bytes(board.record.previous) == hashlib.sha256(sealed(3)[:HEAD_BYTES]).digest()
    assert board.offer(sealed(5)) == 0
    assert bytes(board.record.previous) == bytes(32)  # its slot is written over


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"key": Ed25519PrivateKey.from_private_bytes(bytes(32))}, UNKNOWN_KEY),
        ({"addressee": Addressee.of("plant", "other")}, OTHER_CLASS),
        ({"addressee": Addressee.of("others", "board")}, OTHER_CLASS),
        ({"addressee": dataclasses.replace(BOARD, vendor_id=bytes(16))}, OTHER_CLASS),
        ({"structure": bytes(32)}, OTHER_STRUCTURE),
        ({"counter": 2}, OLD_COUNTER),
        ({"image": bytes(8192)}, BAD_SIZE),
        ({"image": bytes(7680)}, BAD_SIZE),  # the head and the hashes do not fit beside it
        ({"block_bytes": 2048}, BAD_SIZE),
    ],
)
def test_update_is_refused_before_flash_is_touched_when_its_head_says_no(
    new_board: NewBoard, sealed: Sealed, options: dict[str, Any], reason: int
) -> None:
    board = new_board(factory_counter=3)
    board.boot()
    assert board.offer(sealed(1, **{"counter": 3, **options})) == reason
    assert (board.operations, board.step(), board.image) == (0, NOTHING, None)


def test_update_is_given_up_once_flash_works_again_when_it_did_not_for_long(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board = new_board()
    board.boot()
    assert board.offer(sealed(1)) == 0
    board.broken = True
    assert {board.step() for _ in range(30)} == {MORE, WAIT}
    board.broken = False
    board.server = sealed(1)[:-1]  # another failure, of the last block
    assert board.run() in (ENDED, WAIT)
    assert board.install(sealed(2)) == 0


@pytest.mark.slow
def test_every_flipped_bit_of_a_head_is_refused_before_flash_is_touched(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, update = new_board(), sealed(1)
    board.boot()
    for bit in range(8 * HEAD_BYTES):
        spoiled = bytearray(update)
        spoiled[bit // 8] ^= 1 << bit % 8
        assert board.offer(bytes(spoiled)) in (NO_ENVELOPE, BAD_SIZE, UNKNOWN_KEY, BAD_SIGNATURE)
    assert board.operations == 0
    assert board.install(update) == 0


@pytest.mark.parametrize("place", ["first hash", "last hash", "first block", "last block"])
def test_update_is_given_up_when_a_byte_after_the_head_is_wrong(
    new_board: NewBoard, sealed: Sealed, place: str
) -> None:
    board, update = new_board(), bytearray(sealed(1))
    image = len(update) - len(image_of(update))
    at = {"first hash": HEAD_BYTES, "last hash": image - 1, "first block": image}.get(place, -1)
    update[at] ^= 0x10
    board.boot()
    assert board.offer(bytes(update)) == 0
    assert board.run() == ENDED
    assert (board.record.outcome, board.record.reason) == (REJECTED, DAMAGED)
    board.boot()
    assert board.image is None
    assert board.install(sealed(1)) == 0  # the server was mended


@pytest.mark.parametrize("wrong", ["first part of the hashes", "last part of the hashes"])
def test_flash_wears_a_bounded_number_of_times_when_hashes_come_in_parts_and_are_wrong(
    new_board: NewBoard, sealed: Sealed, wrong: str
) -> None:
    image = make_image(random.Random(1).randbytes(16000))
    update = bytearray(sealed(1, image=image))  # 2 kB of hashes for a buffer of 1 kB
    first = HEAD_BYTES if wrong.startswith("first") else len(update) - len(image) - 1
    update[first] ^= 0x10
    board = new_board(slot_bytes=32768)
    board.boot()
    assert board.offer(bytes(update)) == 0
    progress = MORE
    for _ in range(200):
        progress = board.step() if progress == MORE else progress
    assert progress == ENDED
    assert board.record.reason == DAMAGED


def test_flash_wears_a_bounded_number_of_times_when_a_cell_of_the_slot_is_dead(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board = new_board(page_bytes=1024)
    board.boot()
    assert board.offer(sealed(1)) == 0
    board.dead_cell = (2, 1024 + 800)  # in the last of the four blocks of a page
    progress = MORE
    for _ in range(200):
        progress = board.step() if progress == MORE else progress
    assert progress == ENDED
    assert board.record.reason == FLASH


@pytest.mark.parametrize("offered", ["the same", "noise", "nothing"])
def test_self_test_goes_on_when_something_is_offered_meanwhile(
    new_board: NewBoard, sealed: Sealed, offered: str
) -> None:
    board, update = new_board(), sealed(1, image=make_image(bytes(3000), vectors=6))
    board.boot()
    assert board.offer(update) == 0
    while board.record.state != STAGED:
        assert board.step() == MORE
    message = {"the same": update, "noise": bytes(HEAD_BYTES), "nothing": b""}[offered]
    for _ in range(6):
        board.offer(message)
        assert board.step() == MORE
    assert board.run() == READY


def test_download_goes_on_when_noise_is_offered_meanwhile(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, update = new_board(), sealed(1)
    board.boot()
    assert board.offer(update) == 0
    assert board.step() == MORE
    assert board.offer(bytes(HEAD_BYTES)) == NO_ENVELOPE
    board.server = update
    assert board.run() == READY


def test_block_is_fetched_again_and_never_written_when_it_comes_garbled(
    new_board: NewBoard, sealed: Sealed
) -> None:
    clean, noisy = new_board(), new_board(garbled=6)
    for board in (clean, noisy):
        board.boot()
        assert board.install(sealed(1)) == 0
    assert noisy.garbled == 0
    assert noisy.operations == clean.operations
    assert len(noisy.fetched) == len(clean.fetched) + 6


@pytest.mark.parametrize("operation", range(1, 25))
def test_write_is_done_again_when_flash_only_says_that_it_was_done(
    new_board: NewBoard, sealed: Sealed, operation: int
) -> None:
    board = new_board(weak=operation, self_tests=3)
    board.boot()
    for _ in range(4):  # a journal that cannot be written waits
        reason = board.install(sealed(1))
        if reason in (0, ALREADY_RUNNING):
            break
        assert reason in (FLASH, BUSY)  # never DAMAGED: what was written is read back at once
        board.boot()
        assert board.image in (None, image_of(sealed(1)))
    assert board.image == image_of(sealed(1))
    assert board.record.outcome == COMMITTED


def test_update_waits_and_goes_on_when_the_network_ends_and_comes_back(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, update = new_board(), sealed(1)
    board.boot()
    assert board.offer(b"") == LATER
    for end in range(HEAD_BYTES, len(update), 100):
        assert board.offer(update[:end]) == 0
        assert board.run() == WAIT
        before = board.operations
        assert board.step() == WAIT
        assert board.operations == before  # waiting wears nothing out
    assert board.install(update) == 0


def test_blocks_are_fetched_once_when_the_device_restarts_between(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, update = new_board(page_bytes=256), sealed(1)
    board.boot()
    progress = MORE
    while progress == MORE:
        board.boot()
        if board.record.state in (IDLE, FETCHING):
            assert board.offer(update) == 0
        progress = board.step()
        while progress == MORE and board.record.state == STAGED:
            progress = board.step()
    assert progress == READY
    blocks = [place for place in board.fetched if place[0] >= len(update) - len(image_of(update))]
    assert len(blocks) == len(set(blocks))


def test_image_is_refused_for_good_when_its_answers_are_wrong(
    new_board: NewBoard, sealed: Sealed, make_bad: Callable[[], bytes]
) -> None:
    board, bad = new_board(), sealed(1, image=make_bad())
    board.boot()
    assert board.offer(bad) == 0
    assert board.run() == ENDED
    assert (board.record.outcome, board.record.reason) == (REJECTED, WRONG_ANSWERS)
    operations = board.operations
    board.boot()
    assert board.image is None
    assert board.offer(bad) == REFUSED_BEFORE
    assert board.operations == operations


def test_self_test_goes_on_when_offers_come_between_its_steps(
    new_board: NewBoard, sealed: Sealed, make_long: Callable[[], bytes]
) -> None:
    board, update = new_board(), sealed(1, image=make_long())
    hostile = (update, bytes(300), update[:9])
    board.boot()
    assert board.offer(update) == 0
    progress, steps = MORE, 0
    while progress == MORE:
        board.server = update
        progress = board.step()
        board.offer(hostile[steps % 3] if steps % 2 else flipped(update, 220))
        steps += 1
    assert progress == READY
    assert board.runs == 6


def test_image_is_refused_when_its_self_test_takes_the_device_down(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board = new_board(hang=True)
    board.boot()
    assert board.offer(sealed(1)) == 0
    for _ in range(2):
        assert board.run() != READY
        board.boot()
        assert board.image is None
    assert board.run() == ENDED
    assert board.record.reason == WRONG_ANSWERS
    assert board.runs == 2


def test_device_goes_back_when_trial_boots_run_out(new_board: NewBoard, sealed: Sealed) -> None:
    board, old, new = new_board(), sealed(1), sealed(2)
    board.boot()
    assert board.install(old) == 0
    assert board.offer(new) == 0
    assert board.run() == READY
    for _ in range(3):
        board.boot()
        assert board.image == image_of(new)
        assert board.offer(sealed(3)) == BUSY
    board.boot()
    assert board.image == image_of(old)
    assert (board.record.outcome, board.record.reason) == (ROLLED_BACK, NOT_CONFIRMED)
    assert board.offer(new) == REFUSED_BEFORE
    assert board.install(sealed(3)) == 0


def test_device_goes_back_at_the_next_boot_when_the_application_says_no(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, old, new = new_board(), sealed(1), sealed(2)
    board.boot()
    assert board.install(old) == 0
    assert board.offer(new) == 0
    assert board.run() == READY
    board.boot()
    assert board.reject() == 0
    assert board.offer(sealed(3)) == BUSY  # what was rejected still runs from its slot
    assert board.image == image_of(new)
    board.boot()
    assert board.image == image_of(old)
    assert (board.record.outcome, board.record.reason) == (ROLLED_BACK, TAKEN_BACK)


def test_older_counter_is_refused_only_once_the_newer_is_confirmed(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board = new_board()
    board.boot()
    assert board.offer(sealed(1, counter=9)) == 0
    assert board.run() == READY
    board.boot()
    assert board.reject() == 0
    board.boot()
    assert board.install(sealed(2, counter=5)) == 0
    assert board.offer(sealed(3, counter=4)) == OLD_COUNTER
    assert board.install(sealed(3, counter=5)) == 0


def test_model_before_runs_when_the_confirmed_one_rots(new_board: NewBoard, sealed: Sealed) -> None:
    board, old, new = new_board(), sealed(1), sealed(2)
    board.boot()
    assert board.install(old) == 0
    assert board.install(new) == 0
    board.flash[3][2000] ^= 1
    board.boot()
    assert board.image == image_of(old)
    assert (board.record.outcome, board.record.reason) == (ROLLED_BACK, DAMAGED)
    board.flash[2][2000] ^= 1
    board.boot()
    assert board.image is None
    assert board.install(new) == 0


def test_image_does_not_run_when_a_block_and_its_hash_were_changed_together(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, update = new_board(), sealed(1)
    board.boot()
    assert board.install(update) == 0
    slot = bytearray(board.flash[2])
    start = slot.index(image_of(update)[:256])
    slot[start + 100] ^= 1
    slot[HEAD_BYTES : HEAD_BYTES + 32] = hashlib.sha256(slot[start : start + 256]).digest()
    board.flash[2][:] = list(slot)
    board.boot()
    assert board.image is None


def test_image_does_not_run_when_another_signed_one_was_put_into_its_slot(
    new_board: NewBoard, sealed: Sealed
) -> None:
    boards = []
    for seed in (1, 2):
        board = new_board()
        board.boot()
        assert board.install(sealed(seed)) == 0
        boards.append(board)
    boards[0].flash[2][:] = boards[1].flash[2]
    boards[0].boot()
    assert boards[0].image is None


def test_model_before_does_not_run_when_its_counter_was_banned(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board = new_board()
    board.boot()
    assert board.install(sealed(1, counter=1)) == 0
    assert board.install(sealed(2, counter=2)) == 0
    board.flash[3][2000] ^= 1
    board.boot()
    assert board.image is None


def test_factory_model_runs_when_the_firmware_changes_its_structure(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board = new_board()
    board.boot()
    assert board.install(sealed(1)) == 0
    board.device.structure = bytes(range(32))
    board.boot()
    assert board.image is None


def test_new_key_is_trusted_and_old_one_is_not_when_the_firmware_says_so(
    new_board: NewBoard, sealed: Sealed, release_key: Ed25519PrivateKey
) -> None:
    new_key = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1")
    both = new_board(keys=(release_key, new_key))
    both.boot()
    assert both.install(sealed(1)) == 0
    assert both.install(sealed(2, key=new_key)) == 0
    only_new = new_board(keys=(new_key,))
    only_new.boot()
    assert only_new.offer(sealed(1)) == UNKNOWN_KEY


def test_trial_is_not_loaded_when_its_boot_cannot_be_counted(
    new_board: NewBoard, sealed: Sealed
) -> None:
    board, old, new = new_board(), sealed(1), sealed(2)
    board.boot()
    assert board.install(old) == 0
    assert board.offer(new) == 0
    assert board.run() == READY
    for _ in range(5):
        board.broken = True
        board.boot()
        assert board.image != image_of(new)
    board.broken = False
    board.boot()
    assert board.image == image_of(new)


@pytest.mark.parametrize("kind", ["none", "torn", "all"])
@pytest.mark.parametrize("page_bytes", [128, 1024, 4096])
@pytest.mark.parametrize("fate", ["good", "bad", "rejected"])
@pytest.mark.slow
def test_verified_model_runs_and_update_converges_when_power_goes_at_any_operation(
    new_board: NewBoard,
    sealed: Sealed,
    make_bad: Callable[[], bytes],
    kind: str,
    page_bytes: int,
    fate: str,
) -> None:
    old, good = sealed(1), sealed(2, counter=2)
    new = sealed(2, counter=2, image=make_bad()) if fate == "bad" else good
    cut = 0
    while True:
        board = new_board(
            page_bytes=page_bytes, seed=cut, cut_kind=kind, self_tests=9, trial_boots=9
        )
        board.boot()
        assert board.install(old) == 0
        start = board.operations
        board.cut_at = start + cut
        _live(board, old, new, fate)
        if not board.dead:
            break
        for second in (cut, 3 * cut + 1):  # and again, somewhere in the recovery
            board.boot()
            _check(board, old, new)
            board.cut_at = board.operations + second % 17
            _live(board, old, new, fate)
        board.boot()
        _check(board, old, new)
        _live(board, old, new, fate)
        assert not board.dead
        board.boot()
        assert board.image == image_of(new if fate == "good" else old)
        assert board.install(sealed(3, counter=2)) == 0
        cut += 1
    assert cut > 10


def _live(board: Board, old: bytes, new: bytes, fate: str) -> None:
    """What a device does all day, until the update has ended or power is gone."""
    for _ in range(12):
        if board.update.on_trial:
            (board.confirm if fate == "good" else board.reject)()
            if not board.dead:
                _reset(board)
            return
        reason = board.offer(new)
        if board.dead or reason in (ALREADY_RUNNING, REFUSED_BEFORE):
            return
        progress = board.run()
        if board.dead or progress == ENDED:
            return
        if progress == READY:
            _reset(board)
            if board.dead:
                return
            _check(board, old, new)


def _reset(board: Board) -> None:
    """A reset in which power may go once more."""
    cut = board.cut_at
    board.boot()
    if cut is not None:
        board.cut_at = cut


def _check(board: Board, old: bytes, new: bytes) -> None:
    """A verified model always, and the old one as long as the new is not on trial."""
    assert board.image in (image_of(old), image_of(new))
    if board.image == image_of(new):
        assert board.update.on_trial or board.record.outcome == COMMITTED


def test_envelope_and_journal_are_those_that_devices_in_the_field_read(
    new_board: NewBoard, sealed: Sealed
) -> None:
    update = sealed(1, counter=4, image=bytes(range(256)) * 2)
    assert hashlib.sha256(update).hexdigest()[:16] == "ecc3ae9505e3dd7f"
    board, good = new_board(), sealed(1, counter=4)
    board.boot()
    assert board.install(good) == 0
    pages = [bytes(board.flash[page][:128]) for page in (0, 1)]
    later = max(pages, key=lambda page: int.from_bytes(page[4:8], "little"))
    # magic; sequence 6, floor 4; idle, no boot used of 3, slot A twice; committed, fine
    assert later[:18] == b"EKJ1" + bytes((6, 0, 0, 0, 4, 0, 0, 0, 0, 2, 1, 1, 1, 0))
    assert later[24:56] == hashlib.sha256(good[:HEAD_BYTES]).digest()
    assert later[120:] == hashlib.sha256(later[:120]).digest()[:8]


def test_python_reads_what_it_sealed_and_nothing_else(sealed: Sealed, release_key: Any) -> None:
    keys = [release_key.public_key()]
    update = sealed(1, counter=7)
    opened = open_update(update, keys)
    assert (opened.image, opened.head.security_counter) == (image_of(update), 7)
    rng = random.Random(0)
    for _ in range(300):
        spoiled = bytearray(update)
        spoiled[rng.randrange(len(update))] ^= 1 << rng.randrange(8)
        with pytest.raises(Exception, match=r"update|signature|block|image|head"):
            open_update(bytes(spoiled), keys)


def test_verdict_is_pythons_when_signed_heads_are_drawn(
    new_board: NewBoard, sealed: Sealed, release_key: Ed25519PrivateKey
) -> None:
    rng = random.Random(4)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    board, taken = new_board(factory_counter=3), 0
    board.boot()
    for _ in range(150):
        update = sealed(
            0,
            counter=rng.choice((2, 3, 3, 4)),
            image=rng.randbytes(32 * rng.randrange(1, 270)),
            key=rng.choice((release_key, release_key, release_key, stranger)),
            addressee=Addressee.of("plant", rng.choice(("board", "board", "board", "other"))),
            structure=rng.choice((STRUCTURE, STRUCTURE, STRUCTURE, bytes(32))),
            block_bytes=rng.choice((256, 512, 1024, 2048)),
        )
        fine = _python_takes(update, [release_key.public_key()], board.slot_bytes)
        assert (board.offer(update) == 0) == fine
        taken += fine
    assert 10 < taken < 140


def _python_takes(update: bytes, keys: list[Ed25519PublicKey], slot_bytes: int) -> bool:
    """By the fields alone, with sizes as the picture of a slot in ek_slot.h has them."""
    try:
        head = open_update(update, keys).head
    except TrustError:
        return False
    used = HEAD_BYTES + 32 * head.blocks
    image = -(-used // head.block_bytes) * head.block_bytes
    return (
        head.addressee == BOARD
        and head.structure == STRUCTURE
        and head.security_counter >= 3
        and head.block_bytes <= 1024
        and image + head.image_bytes <= slot_bytes
    )
