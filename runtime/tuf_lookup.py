"""python-tuf's client, fed through our own links, and one lookup to a client.

`ngclient` does the whole workflow of the TUF specification, section 5, but remembers what it has
verified by *role name*. Two roles may delegate to one third role under different keys, so metadata
that the first of them vouches for could answer a lookup that went through the second: python-tuf
up to 7.0.0 lets it; 7.0.1 remembers pairs of roles, but not which bytes a pair was verified with.
Here a client answers one lookup and is thrown away. The next lookup reads the cache from disk and
verifies every file again, against the role that delegates to it on the path of *that* lookup;
within one lookup no role is visited twice.

A threshold is a number of keys. `ngclient` counts key ids, under which one key may stand twice, so
metadata that lists a key twice is refused before it gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    RepositoryError,
)
from tuf.api.metadata import (  # type: ignore[attr-defined]  # tuf re-exports them plainly
    Metadata,
    Root,
    Targets,
)
from tuf.ngclient import (  # type: ignore[attr-defined]
    FetcherInterface,
    Updater,
    UpdaterConfig,
)

from .errors import AbsentFileError, TransferError

MAX_METADATA_BYTES = 5_000_000  # ngclient's own bound for the largest role
MAX_ROOT_ROTATIONS = 1024  # in a device's life: the chain is walked from the root it came with
ABSENT = 404

FetchBytes = Callable[[str, int], bytes]  # address, most bytes that it may have


class BytesFetcher(FetcherInterface):
    """Gives ngclient a file through `fetch_bytes`, which hears how large it may be."""

    def __init__(self, fetch_bytes: FetchBytes) -> None:
        self._fetch_bytes = fetch_bytes

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A file of at most `max_length` bytes: endless data ends at the role's own bound.

        Raises:
            DownloadHTTPError: the repository has no such file.
            DownloadError: it is larger, or does not come now.
            RepositoryError: it is metadata that lists one key under two ids.
        """
        try:
            data = self._fetch_bytes(url, max_length)
        except AbsentFileError as error:
            raise DownloadHTTPError(str(error), ABSENT) from error
        except TransferError as error:
            raise DownloadError(f"Failed to download {url}") from error
        if len(data) > max_length:
            raise DownloadLengthMismatchError(f"{url} has more than {max_length} bytes")
        check_keys_differ(data)
        return data

    def _fetch(self, url: str) -> Iterator[bytes]:
        return iter((self.download_bytes(url, MAX_METADATA_BYTES),))


def updater_for_one_lookup(
    cache: Path, root: bytes, metadata_url: str, fetch_bytes: FetchBytes
) -> Updater:
    """A client over `cache` that trusts `root`; ask it for one target, then drop it.

    Raises:
        RepositoryError: `root` is no root metadata that signs itself.
        OSError: the cache cannot be written.
    """
    return Updater(
        str(cache),
        metadata_url,
        fetcher=BytesFetcher(fetch_bytes),
        config=UpdaterConfig(max_root_rotations=MAX_ROOT_ROTATIONS),
        bootstrap=root,
    )


def check_keys_differ(data: bytes) -> None:
    """Refuse root or targets metadata that lists one key under two ids.

    Bytes that are no metadata pass: they have no keys, and ngclient says what is wrong with them.

    Raises:
        RepositoryError: a key is listed twice.
    """
    try:
        signed = Metadata.from_bytes(data).signed
    except RepositoryError:
        return
    keys = signed.keys if isinstance(signed, Root) else {}
    if isinstance(signed, Targets) and signed.delegations is not None:
        keys = signed.delegations.keys
    values = [str(key.keyval.get("public", "")).strip() for key in keys.values()]
    if len(set(values)) != len(values):
        raise RepositoryError(f"{signed.type} lists one key under two ids")
