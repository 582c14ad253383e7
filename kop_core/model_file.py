"""What a ``model.keras`` holds, looked at before Keras opens it.

The file is a zip archive with an HDF5 file inside, and both formats can do more than keep
numbers: members and datasets that grow a thousandfold, links into other files, datasets
that are views of other files. A file that KOP wrote does none of this: its members are
stored as they are, and its weights are plain blocks of numbers inside it. Any other file
may come from somebody else, and is not opened.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core.datasets.archives import ArchiveLimits, open_archive, unsafe_kind
from kop_core.errors import DataSetError

if TYPE_CHECKING:
    import zipfile

WEIGHTS = "model.weights.h5"
MEMBERS = frozenset({"metadata.json", "config.json", WEIGHTS})
_LIMITS = ArchiveLimits(max_members=len(MEMBERS), max_directory=2**12)
_MAX_OBJECTS = 100_000


def fault(path: Path) -> str | None:
    """Return why a file is no ``model.keras`` that may be opened, or ``None``.

    Args:
        path: the file. No more memory is taken than it has bytes.
    """
    import zipfile

    try:
        with path.open("rb") as stream, open_archive(stream, _LIMITS) as archive:
            return _fault_of_members(archive.infolist()) or _fault_of_weights(archive.read(WEIGHTS))
    except (DataSetError, OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError):
        return "it is damaged, or no zip archive of the kind that Keras writes"


def _fault_of_members(members: list[zipfile.ZipInfo]) -> str | None:
    import zipfile

    names = [member.filename for member in members]
    if set(names) != MEMBERS or len(names) != len(MEMBERS):
        return f"it does not hold exactly {', '.join(sorted(MEMBERS))}"
    for member in members:
        reason = unsafe_kind(member)
        if reason:
            return f"its {member.filename} is {reason}"
        # Stored members cannot become more than the file has.
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            return f"its {member.filename} is compressed, as Keras does not do it"
    return None


def _fault_of_weights(content: bytes) -> str | None:
    import h5py

    try:
        with h5py.File(io.BytesIO(content), "r") as root:
            return _fault_of_groups(root, len(content))
    except Exception:  # h5py raises anything at all on hostile bytes
        return f"its {WEIGHTS} is damaged"


def _fault_of_groups(root: Any, length: int) -> str | None:
    """Walk every object of an HDF5 file without following anything out of it."""
    import h5py

    left, seen, size = [root], set(), 0
    while left:
        group = left.pop()
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                return "its weights have links to other places"
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) > _MAX_OBJECTS:
                return "its weights are not laid out as Keras does it"
            seen.add(address)
            if isinstance(item, h5py.Group):
                left.append(item)
                continue
            reason = _fault_of_block(item)
            if reason:
                return reason
            size += item.id.get_storage_size()
            if size > length:
                return "its weights say that they are more than the file has"
    return None


def _fault_of_block(item: Any) -> str | None:
    """Return why an object is no plain block of numbers inside the file."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.shape is None or item.dtype.kind not in "fiub":
        return "its weights hold something other than numbers"
    plan = item.id.get_create_plist()
    plain = (
        plan.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
        and plan.get_external_count() == 0
        and plan.get_nfilters() == 0
    )
    if not plain:
        return "its weights are compressed, in pieces, or in other files"
    # A block that was never written reads as zeros, as many as it says.
    if item.id.get_storage_size() != math.prod(item.shape) * item.dtype.itemsize:
        return "its weights say that they are more than the file has"
    return None
