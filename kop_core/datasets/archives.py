"""A zip archive that somebody dropped becomes a folder, and nothing else becomes anything.

What an archive says of itself is not believed: members are counted while they are
unpacked, and what would climb out of the folder, is a link, or is no picture and no table
stays inside the archive.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kop_core.errors import DataSetError
from kop_core.radiographs import EXTENSIONS
from kop_core.radiographs import LIMITS as READING

UNPACKED = (*EXTENSIONS, "csv")

_ARCHIVES = frozenset(
    ("zip", "rar", "7z", "gz", "tgz", "tar", "bz2", "xz", "zst", "lzma", "cab", "iso", "jar")
)
# What operating systems put beside files; nobody misses it.
_LITTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})
# Other methods can grow a thousandfold inside one call of their decoder.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BLOCK = 2**18


@dataclass(frozen=True)
class ArchiveLimits:
    """What is unpacked at most.

    Attributes:
        max_members: files and folders in the archive.
        max_directory: bytes of the archive's list of members, read at once.
        max_bytes: bytes of all members unpacked.
        max_member: bytes of one member unpacked.
        max_ratio: times that a member may grow; pictures hardly do.
        free_ratio: a member smaller than this, in bytes, may grow as it likes.
        max_depth: folders inside one another.
        max_name: bytes of a member's path.
    """

    max_members: int = 50_000
    max_directory: int = 8 * 2**20
    max_bytes: int = 2 * 2**30
    max_member: int = READING.max_bytes
    max_ratio: float = 200.0
    free_ratio: int = 2**20
    max_depth: int = 16
    max_name: int = 1_000


LIMITS = ArchiveLimits()


def unpack(
    archive: str | Path | bytes | BinaryIO,
    into: Path,
    limits: ArchiveLimits = LIMITS,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[str, str]]:
    """Unpack the pictures and tables of a zip archive into an empty folder.

    Args:
        archive: the archive's path, its bytes, or a file open for reading.
        into: a folder, new or empty.
        limits: what is unpacked at most.
        progress: called with members done and members in all.

    Returns:
        Names and reasons of the members that were left out.

    Raises:
        DataSetError: if it is no zip archive, is damaged, holds or becomes too much, or
            holds nothing that KOP reads.
    """
    stream = io.BytesIO(archive) if isinstance(archive, bytes) else archive
    if isinstance(stream, (str, Path)):
        try:
            with Path(stream).open("rb") as opened:
                return unpack(opened, into, limits, progress)
        except OSError as error:
            raise DataSetError(f"{stream} cannot be opened ({error.strerror}).") from error
    into.mkdir(parents=True, exist_ok=True)
    if any(into.iterdir()):
        raise DataSetError(f"{into} is not empty: an archive is unpacked into a folder of its own.")
    with open_archive(stream, limits) as opened:
        return _Unpacking(opened, into, limits).go(progress)


def open_archive(stream: BinaryIO, limits: ArchiveLimits = LIMITS) -> zipfile.ZipFile:
    """Open an archive whose list of members is of a size to be read.

    Args:
        stream: a file open for reading.
        limits: what is read at most.

    Raises:
        DataSetError: if it is no zip archive, or its list of members is damaged or too long.
    """
    _check_directory(stream, limits)
    try:
        return zipfile.ZipFile(stream)
    except Exception as error:  # hostile bytes make the reader raise anything at all
        raise DataSetError(
            "The file is no zip archive, or its list of members is damaged. Pack the folder again."
        ) from error


class _Unpacking:
    """One archive on its way into a folder, with what has been written so far."""

    def __init__(self, archive: zipfile.ZipFile, into: Path, limits: ArchiveLimits) -> None:
        self.archive = archive
        self.into = into
        self.limits = limits
        self.left_out: list[tuple[str, str]] = []
        self.written = 0
        self._files: set[tuple[str, ...]] = set()
        self._folders: set[tuple[str, ...]] = set()

    def go(self, progress: Callable[[int, int], None] | None) -> list[tuple[str, str]]:
        """Unpack what may be unpacked; return what was left out, with reasons."""
        members = self._accepted()
        self._check_whole(members)
        unpacked = 0
        for done, (member, parts) in enumerate(members, start=1):
            fault = self._write(member, parts)
            if fault:
                self.left_out.append((shown_name(member.filename), fault))
            else:
                unpacked += 1
            if progress:
                progress(done, len(members))
        if not unpacked:
            first = f" {self.left_out[0][0]}: {self.left_out[0][1]}." if self.left_out else ""
            raise DataSetError(
                f"The archive holds no picture that can be unpacked.{first} Pack the folder that "
                "holds the class folders."
            )
        return self.left_out

    def _accepted(self) -> list[tuple[zipfile.ZipInfo, tuple[str, ...]]]:
        members = self.archive.infolist()
        if len(members) > self.limits.max_members:
            raise DataSetError(
                f"The archive has {len(members):,} members; at most "
                f"{self.limits.max_members:,} are unpacked. Divide it."
            )
        accepted = []
        for member in members:
            # Archives made on Windows may part folders with backslashes.
            name = member.filename.replace("\\", "/")
            if name.endswith("/") or is_litter(name):
                continue
            fault = self._fault(member, name)
            parts = tuple(p for p in name.split("/") if p not in ("", "."))
            fault = fault or self._clash(parts)
            if fault:
                self.left_out.append((shown_name(member.filename), fault))
            else:
                accepted.append((member, parts))
        return accepted

    def _fault(self, member: zipfile.ZipInfo, name: str) -> str | None:
        """Return why a member is left out by what its entry says, or ``None``."""
        return (
            unsafe_path(name, self.limits)
            or unsafe_kind(member)
            or _unwanted(name)
            or self._too_large(member)
        )

    def _too_large(self, member: zipfile.ZipInfo) -> str | None:
        if member.file_size > self.limits.max_member:
            return f"larger than {self.limits.max_member / 2**20:,.0f} MB"
        return self._bomb(member.file_size, member)

    def _bomb(self, size: int, member: zipfile.ZipInfo) -> str | None:
        """Return a fault if a member grows to ``size`` as no picture does."""
        times = size / max(member.compress_size, 1)
        if size > self.limits.free_ratio and times > self.limits.max_ratio:
            return f"grows more than {self.limits.max_ratio:,.0f} times, as archive bombs do"
        return None

    def _clash(self, parts: tuple[str, ...]) -> str | None:
        """Note a path; return a fault if another one is there, by the laxest file system."""
        key = tuple(unicodedata.normalize("NFC", part).casefold() for part in parts)
        above = {key[:i] for i in range(1, len(key))}
        if key in self._files or key in self._folders or above & self._files:
            return "another member has the same name (but perhaps for capitals)"
        self._files.add(key)
        self._folders |= above
        return None

    def _check_whole(self, members: list[tuple[zipfile.ZipInfo, tuple[str, ...]]]) -> None:
        declared = sum(member.file_size for member, _ in members)
        if declared > self.limits.max_bytes:
            raise DataSetError(self._too_much(f"would unpack to {declared / 2**20:,.0f} MB"))
        free = shutil.disk_usage(self.into).free
        if declared > free - 2**26:
            raise DataSetError(
                f"The archive would unpack to {declared / 2**20:,.0f} MB, and the disk of the "
                f"temporary folder has {free / 2**20:,.0f} MB left. Make room, or name a folder "
                "on this machine instead."
            )

    def _too_much(self, what: str) -> str:
        return (
            f"The archive {what}; at most {self.limits.max_bytes / 2**20:,.0f} MB are unpacked. "
            "Name a folder on this machine instead, or divide the archive."
        )

    def _write(self, member: zipfile.ZipInfo, parts: tuple[str, ...]) -> str | None:
        """Write one member; return why it could not be, or ``None``."""
        path = self.into.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:
                fault = self._copy(member, out)
        except OSError as error:
            fault = f"cannot be written ({error.strerror})"
        except ValueError:
            fault = "the name cannot be written on this machine"
        if fault:
            with contextlib.suppress(OSError, ValueError):
                path.unlink()
        return fault

    def _copy(self, member: zipfile.ZipInfo, out: BinaryIO) -> str | None:
        size = 0
        try:
            source = self.archive.open(member)
        except Exception:
            return "damaged, or packed in a way that KOP does not unpack"
        with source:
            while True:
                try:
                    block = source.read(_BLOCK)
                except Exception:  # a checksum that fails, bytes that end, a decoder's own errors
                    return "damaged: its bytes are not those that were packed"
                if not block:
                    return None
                size += len(block)
                self.written += len(block)
                if self.written > self.limits.max_bytes:
                    raise DataSetError(self._too_much("unpacks to more than it says"))
                if size > self.limits.max_member:
                    return f"larger than {self.limits.max_member / 2**20:,.0f} MB"
                if fault := self._bomb(size, member):
                    return fault
                out.write(block)


def unsafe_path(name: str, limits: ArchiveLimits) -> str | None:
    """Return why a member's name cannot be a path below a folder, or ``None``."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "an absolute path"
    if ".." in parts:
        return "the path leads out of the archive"
    if not all(map(_can_be_shown, name)):
        return "the name has characters that cannot be shown"
    if len(name.encode(errors="replace")) > limits.max_name or len(parts) > limits.max_depth:
        return "the path is too long or too deep"
    return None


def _can_be_shown(character: str) -> bool:
    # Spaces of other widths count as not printable; macOS puts one into names of screenshots.
    return character.isprintable() or unicodedata.category(character) == "Zs"


def unsafe_kind(member: zipfile.ZipInfo) -> str | None:
    """Return why a member is none that is unpacked by its entry, or ``None``."""
    mode = stat.S_IFMT(member.external_attr >> 16)
    if mode == stat.S_IFLNK:
        return "a link"
    if mode not in (0, stat.S_IFREG):
        return "not a plain file"
    if member.flag_bits & 0x1:
        return "encrypted. Pack it without a password"
    if member.compress_type not in _METHODS:
        return "compressed by a method that KOP does not unpack. Pack it as an ordinary zip"
    return None


def _unwanted(name: str) -> str | None:
    kind = name.rsplit("/", 1)[-1].lower().rpartition(".")[2]
    if kind in _ARCHIVES:
        return "an archive inside the archive. Unpack it first"
    if kind not in UNPACKED:
        return "not a kind of file that KOP reads"
    return None


def is_litter(name: str) -> bool:
    """Return whether a member is what operating systems put beside files."""
    parts = [part.lower() for part in name.split("/")]
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return hidden or bool(_LITTER & {parts[0], parts[-1]})


def shown_name(name: str) -> str:
    """Return a member's name as it can be shown."""
    plain = name.encode(errors="replace").decode()
    shown = "".join(c if _can_be_shown(c) else "\N{REPLACEMENT CHARACTER}" for c in plain)
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def _check_directory(stream: BinaryIO, limits: ArchiveLimits) -> None:
    """Refuse an archive whose list of members would fill the memory when it is read.

    APPNOTE.TXT 6.3, sections 4.3.14 to 4.3.16. What is no archive at all is left for
    :mod:`zipfile` to refuse.
    """
    stream.seek(0, io.SEEK_END)
    length = stream.tell()
    # The end record has 22 bytes and a comment of 65,535 at most.
    start = max(0, length - 22 - 2**16)
    stream.seek(start)
    tail = stream.read()
    stream.seek(0)
    # As zipfile looks for it: at the very end, else the last that is there.
    plain = len(tail) >= 22 and tail[-22:-18] == b"PK\x05\x06" and tail[-2:] == b"\0\0"
    at = len(tail) - 22 if plain else tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return
    size = struct.unpack("<L", tail[at + 12 : at + 16])[0]
    # Large archives keep the figure in a record of its own, 56 + 20 bytes before.
    if at >= 76 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        size = max(size if size != 0xFFFFFFFF else 0, *_zip64_sizes(stream, tail, at))
        stream.seek(0)
    if size > limits.max_directory:
        raise DataSetError(
            f"The archive's list of members has {size / 2**20:,.0f} MB; at most "
            f"{limits.max_directory / 2**20:,.0f} MB are read. Divide the archive."
        )


def _zip64_sizes(stream: BinaryIO, tail: bytes, at: int) -> tuple[int, int]:
    """Return the directory's size by the record before the locator and the one it names."""
    near = tail[at - 76 : at - 20]
    stream.seek(min(struct.unpack("<Q", tail[at - 12 : at - 4])[0], 2**62))
    named = stream.read(56)
    sizes = [
        struct.unpack("<Q", record[40:48])[0] if record[:4] == b"PK\x06\x06" else 0
        for record in (near, named)
    ]
    return sizes[0], sizes[1]
