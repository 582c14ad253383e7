"""Files and bytes in, a :class:`Radiograph` or a named error out.

Pictures are decoded by Pillow, DICOM by :mod:`kop_core.radiographs.dicom`. Sizes that
a file declares are checked before anything is decoded, so memory stays bounded.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kop_core.errors import (
    EmptyFile,
    FileMissing,
    ImageTooLarge,
    ImageTooSmall,
    MultipleFrames,
    NotAnImage,
    OutOfMemory,
    RadiographError,
    TruncatedImage,
)
from kop_core.radiographs.radiograph import Radiograph

EXTENSIONS: tuple[str, ...] = (
    "png",
    "jpg",
    "jpeg",
    "tif",
    "tiff",
    "bmp",
    "webp",
    "dcm",
    "dicom",
)

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_FORMAT_NAMES = "PNG, JPEG, TIFF, BMP, WebP or DICOM"
_KNOWN_OTHERS = (
    (b"PK\x03\x04", "a zip archive: unpack it and upload the pictures in it"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"%PDF", "a PDF document: export the picture from it"),
    (b"GIF8", "a GIF: save it as PNG"),
    (b"\x1f\x8b", "a gzip archive: unpack it and upload the pictures in it"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it and upload the pictures in it"),
    (b"\x89HDF", "an HDF5 file, not a picture"),
)


@dataclass(frozen=True)
class Limits:
    """What is read at most, checked before decoding.

    Attributes:
        max_bytes: size of a file.
        max_pixels: rows times columns. A large flat-panel detector has 20 million.
        min_side: pixels of the shorter side.
    """

    max_bytes: int = 128 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side: int = 32

    def check_bytes(self, name: str, size: int) -> None:
        """Raise :class:`EmptyFile` or :class:`ImageTooLarge` for a file of ``size`` bytes."""
        if size == 0:
            raise EmptyFile(name, "the file is empty (0 bytes). Export or copy it again.")
        if size > self.max_bytes:
            raise ImageTooLarge(
                name,
                f"the file has {size / 2**20:,.0f} MB; at most {self.max_bytes / 2**20:,.0f} MB "
                "are read.",
            )

    def check_shape(self, name: str, width: int, height: int) -> None:
        """Raise :class:`ImageTooLarge` or :class:`ImageTooSmall` for a declared size."""
        if width * height > self.max_pixels:
            raise ImageTooLarge(
                name,
                f"the picture declares {width:,} × {height:,} pixels; at most "
                f"{self.max_pixels / 1e6:,.0f} million are read. Export it at a smaller size.",
            )
        if min(width, height) < self.min_side:
            raise ImageTooSmall(
                name,
                f"the picture has {width} × {height} pixels; a knee needs at least "
                f"{self.min_side} on each side.",
            )


LIMITS = Limits()


def read(
    source: str | Path | bytes, name: str | None = None, limits: Limits = LIMITS
) -> Radiograph:
    """Read one radiograph.

    Args:
        source: a file's path, or the file's bytes.
        name: what to call it in messages; by default the path's last part.
        limits: what is read at most.

    Returns:
        The radiograph, pixels float32 in [0, 1], turned as EXIF asks, white dense.

    Raises:
        RadiographError: one of its named kinds, with the file's name and the reason.
    """
    if isinstance(source, bytes):
        name = name or "upload"
        limits.check_bytes(name, len(source))
        data = source
    else:
        path = Path(source)
        name = name or path.name
        data = _read_bytes(path, name, limits)
    digest = hashlib.sha256(data).hexdigest()
    try:
        if _is_dicom(data, name):
            from kop_core.radiographs import dicom  # pydicom takes a moment: only when needed

            return dicom.read_dicom(data, name, digest, limits)
        return _read_picture(data, name, digest, limits)
    except MemoryError as error:
        raise OutOfMemory(
            name,
            "there was not enough memory to read the picture. Close other programs and try again.",
        ) from error


def _read_bytes(path: Path, name: str, limits: Limits) -> bytes:
    try:
        if path.is_dir():
            raise NotAnImage(name, "this is a folder. Name the files in it.")
        limits.check_bytes(name, path.stat().st_size)
        with path.open("rb") as stream:
            data = stream.read(limits.max_bytes + 1)
    except FileNotFoundError:
        raise FileMissing(name, "there is no such file.") from None
    except OSError as error:
        raise FileMissing(name, f"the file cannot be opened ({error.strerror}).") from error
    # The size is asked again of what was really read: pipes and devices declare none.
    limits.check_bytes(name, len(data))
    return data


def _is_dicom(data: bytes, name: str) -> bool:
    if data[128:132] == b"DICM":
        return True
    # Old exports leave out the preamble; group 0002 or 0008 comes first then.
    return name.lower().endswith((".dcm", ".dicom")) and data[:4] in (
        b"\x02\x00\x00\x00",
        b"\x02\x00\x01\x00",
        b"\x08\x00\x00\x00",
        b"\x08\x00\x05\x00",
        b"\x08\x00\x08\x00",
        b"\x08\x00\x16\x00",
    )


def _read_picture(data: bytes, name: str, digest: str, limits: Limits) -> Radiograph:
    with warnings.catch_warnings():
        # Pillow warns of sizes that the limits judge, and of broken EXIF that is not used.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                limits.check_shape(name, *picture.size)
                _require_one_page(picture, name)
                picture.load()
                return _to_radiograph(picture, data, name, digest)
        except (RadiographError, MemoryError):
            raise
        except Image.DecompressionBombError:
            raise ImageTooLarge(
                name,
                "the picture declares more pixels than are read "
                f"({limits.max_pixels / 1e6:,.0f} million). Export it at a smaller size.",
            ) from None
        except Image.UnidentifiedImageError:
            raise NotAnImage(name, _what_it_is(data)) from None
        except Exception as error:  # hostile bytes make decoders raise anything at all
            raise TruncatedImage(name, _why_broken(error)) from error


def _require_one_page(picture: Image.Image, name: str) -> None:
    """Refuse several pages or an animation. Counting them all could take hours."""
    if picture.format not in ("TIFF", "WEBP", "PNG"):
        return
    try:
        picture.seek(1)
    except EOFError:
        return
    raise MultipleFrames(name, "the file holds several pictures. Save the one that is meant.")


def _what_it_is(data: bytes) -> str:
    for magic, words in _KNOWN_OTHERS:
        if data.startswith(magic):
            return f"this is {words}."
    head = data[:512]
    if head.isascii() and b"\x00" not in head:
        return f"this is text, not a picture. KOP reads {_FORMAT_NAMES}."
    return f"this is not a picture in a format that KOP reads ({_FORMAT_NAMES})."


def _why_broken(error: Exception) -> str:
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return "the picture breaks off before its end. Copy or export it again."
    return "the picture is damaged inside and cannot be decoded. Copy or export it again."


def _to_radiograph(picture: Image.Image, data: bytes, name: str, digest: str) -> Radiograph:
    file_format = "JPEG" if picture.format == "MPO" else str(picture.format)
    white_is_zero = _white_is_zero(picture)
    upright = ImageOps.exif_transpose(picture)
    pixels, bits, colour, notes = _grey(upright, name)
    if white_is_zero:
        pixels = 1 - pixels
    if _is_deep_colour(data):
        notes += ("Of the 16 bits of each colour only the upper 8 were read.",)
    return Radiograph(
        pixels=np.ascontiguousarray(pixels, dtype=np.float32),
        name=name,
        format=file_format,
        bits=bits,
        sha256=digest,
        colour=colour,
        notes=notes,
    )


def _white_is_zero(picture: Image.Image) -> bool:
    """Whether deep grey counts from white, as film digitisers do. Pillow turns only 8 bits."""
    photometric = getattr(picture, "tag_v2", {}).get(262)
    return photometric == 0 and picture.mode.startswith(("I", "F"))


def _is_deep_colour(data: bytes) -> bool:
    """Whether a PNG has 16 bits a channel and more than one: Pillow keeps 8 of these."""
    return data.startswith(b"\x89PNG") and data[24:26] in (b"\x10\x02", b"\x10\x04", b"\x10\x06")


def _grey(picture: Image.Image, name: str) -> tuple[np.ndarray, int, bool, tuple[str, ...]]:
    """Return pixels in [0, 1], bits, whether there is colour, and notes."""
    if picture.mode.startswith(("I", "F")):
        return _deep_grey(np.asarray(picture), name)
    if picture.mode == "1":
        return np.asarray(picture, dtype=np.float32), 1, False, ()
    notes: tuple[str, ...] = ()
    if picture.has_transparency_data:
        # What is transparent shows nothing, and nothing is black on a radiograph.
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] < 255:
            notes = ("Transparent parts of the picture were taken as black.",)
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture).convert("RGB")
    colour = False
    if picture.mode != "L":
        picture = picture.convert("RGB")
        colour = _colourfulness(np.asarray(picture)[::4, ::4]) > 0.02
        picture = picture.convert("L")
    return np.asarray(picture, dtype=np.float32) / 255, 8, colour, notes


def _colourfulness(rgb: np.ndarray) -> float:
    """Mean spread of the channels, as a share of the scale."""
    spread = rgb.max(axis=2).astype(np.int16) - rgb.min(axis=2)
    return float(spread.mean() / 255)


def _deep_grey(values: np.ndarray, name: str) -> tuple[np.ndarray, int, bool, tuple[str, ...]]:
    """Scale grey of more than 8 bits. Pillow's own ``convert("L")`` would cut it off."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise NotAnImage(name, "some of its grey values are not numbers.")
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        return _floating_grey(values)
    # One in a thousand may be brighter: a dead pixel must not darken all the others.
    bits = max(8, int(np.percentile(values, 99.9)).bit_length())
    notes = ()
    if bits < 16:
        notes = (f"Only {bits} of the file's 16 bits are used; the grey scale was set to these.",)
    unit = values.astype(np.float32) / (2**bits - 1)
    return np.clip(unit, 0, 1, out=unit), bits, False, notes


def _floating_grey(values: np.ndarray) -> tuple[np.ndarray, int, bool, tuple[str, ...]]:
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1:
        return values.astype(np.float32), 32, False, ()
    scaled = (values.astype(np.float64) - low) / max(high - low, np.finfo(np.float32).tiny)
    note = f"Grey values run from {low:.6g} to {high:.6g}; they were scaled to that range."
    return np.clip(scaled, 0, 1).astype(np.float32), 32, False, (note,)
