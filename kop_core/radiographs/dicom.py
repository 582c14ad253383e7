"""DICOM radiographs, by the grey-scale pipeline of the standard (PS3.3 C.11, PS3.4 N.2).

Modality LUT, then VOI LUT or window, then MONOCHROME1 turned over, so that dense is
white. Names, ids and dates of the patient are never looked at.
"""

from __future__ import annotations

import io
import math
import re
import struct
import warnings

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.pixels import apply_color_lut, apply_modality_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from kop_core.errors import (
    ImageTooLarge,
    MultipleFrames,
    NoPixels,
    NotAnImage,
    RadiographError,
    TruncatedImage,
    WrongModality,
)
from kop_core.radiographs.radiograph import Radiograph

MODALITIES = {"CR": "computed radiography", "DX": "digital radiography", "RG": "film radiography"}
_OTHER_MODALITIES = {
    "CT": "computed tomography",
    "MR": "magnetic resonance",
    "US": "ultrasound",
    "NM": "nuclear medicine",
    "PT": "positron emission tomography",
    "MG": "mammography",
    "XA": "angiography",
    "RF": "fluoroscopy",
    "BMD": "bone densitometry",
    "OT": "unspecified (OT)",
}
_MAX_BITS = 32
# Nothing that names the patient is among what is read.
_TAGS = (
    "SOPClassUID",
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "Laterality",
    "ImageLaterality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "PresentationIntentType",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
)


def read_dicom(data: bytes, name: str, digest: str, limits) -> Radiograph:
    """Read one DICOM radiograph from the bytes of a file.

    Args:
        data: the file.
        name: what to call it in messages.
        digest: SHA-256 of the file.
        limits: a :class:`kop_core.radiographs.reading.Limits`.

    Raises:
        RadiographError: one of its named kinds.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of headers that do no harm here
        try:
            _refuse_deflated(data, name)
            dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_TAGS))
            _complete_meta(dataset)
            _check(dataset, name, limits)
            pixels, bits, colour, notes = _grey(dataset, name)
            return Radiograph(
                pixels=np.ascontiguousarray(pixels, dtype=np.float32),
                name=name,
                format="DICOM",
                bits=bits,
                sha256=digest,
                colour=colour,
                modality=_word(dataset, "Modality"),
                body_part=_word(dataset, "BodyPartExamined"),
                view=_word(dataset, "ViewPosition"),
                laterality=_laterality(dataset),
                pixel_spacing=_spacing(dataset),
                notes=notes,
            )
        except (RadiographError, MemoryError):
            raise
        except Exception as error:  # hostile bytes make decoders raise anything at all
            raise TruncatedImage(
                name,
                "the DICOM file breaks off or its picture is damaged and cannot be decoded. "
                "Export it again.",
            ) from error


def _refuse_deflated(data: bytes, name: str) -> None:
    """Read the file meta alone, as pydicom does: reading on would inflate without limit."""
    stream = io.BytesIO(data)
    read_preamble(stream, force=True)
    if _read_file_meta_info(stream).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise NotAnImage(
            name,
            "the DICOM file is deflated as a whole, which KOP does not unpack. Export it "
            "uncompressed or as JPEG.",
        )


def _complete_meta(dataset: pydicom.Dataset) -> None:
    """Old exports lack the file meta; what pydicom found then is their transfer syntax."""
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax


def _check(dataset: pydicom.Dataset, name: str, limits) -> None:
    """Everything that can be refused from the header alone."""
    modality = _word(dataset, "Modality") or ""
    if not any(k in dataset for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        if "Rows" in dataset:
            raise TruncatedImage(
                name, "the DICOM file breaks off before its picture. Export it again."
            )
        raise NoPixels(
            name,
            "this DICOM object holds no picture"
            + (f" (modality {modality})" if modality else "")
            + ". Export the radiograph itself.",
        )
    if modality not in MODALITIES:
        known = _OTHER_MODALITIES.get(modality, "an unknown modality")
        what = f"{known} ({modality})" if modality and "(" not in known else known
        raise WrongModality(
            name,
            f"the file's header says {what}; KOP reads plain radiographs (modality CR or DX).",
        )
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise MultipleFrames(
            name, f"the DICOM file holds {frames} frames. Export the one that is meant."
        )
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    limits.check_shape(name, columns, rows)
    if int(dataset.BitsAllocated) > _MAX_BITS or int(dataset.get("SamplesPerPixel", 1)) > 3:
        raise NotAnImage(name, "the DICOM header describes pixels of a kind KOP does not read.")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _check_codestream(dataset, name, rows, columns)


def _check_codestream(dataset: pydicom.Dataset, name: str, rows: int, columns: int) -> None:
    """Refuse a compressed picture that is not, inside, what its header says.

    Decoders trust the stream, not the DICOM header, and would allocate what it asks for.
    """
    syntax, samples = dataset.file_meta.TransferSyntaxUID, int(dataset.get("SamplesPerPixel", 1))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if syntax == RLELossless:
        whole = rows * columns * samples * (int(dataset.BitsAllocated) // 8)
        if len(frame) > 2 * whole + 1024:
            raise ImageTooLarge(
                name,
                "the compressed picture inside is larger than an "
                "uncompressed one could be. Such a file is not decoded.",
            )
        return
    inside = _codestream_size(frame)
    if inside is None:
        raise NotAnImage(
            name,
            "the picture inside is compressed in a way that KOP does not read. Export it "
            "uncompressed or as JPEG.",
        )
    if inside != (rows, columns, samples):
        raise ImageTooLarge(
            name,
            f"the compressed picture inside is {inside[1]:,} × {inside[0]:,} pixels in "
            f"{inside[2]} channels, but the header says {columns:,} × {rows:,} in {samples}. "
            "Such a file is not decoded.",
        )


def _codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components that a JPEG, JPEG-LS or JPEG 2000 stream declares.

    ``None`` for anything else, a JP2 container included: DICOM asks for the bare stream.
    """
    if frame.startswith(b"\xff\x4f\xff\x51"):  # JPEG 2000: SIZ follows the start at once
        x1, y1, x0, y0 = struct.unpack_from(">4I", frame, 8)
        return y1 - y0, x1 - x0, struct.unpack_from(">H", frame, 40)[0]
    if not frame.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 10 < len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # a fill byte before the marker
            at += 1
            continue
        is_frame_header = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame_header or marker == 0xF7:  # F7: JPEG-LS
            rows, columns, components = struct.unpack_from(">2HB", frame, at + 5)
            return rows, columns, components
        at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return None


def _grey(dataset: pydicom.Dataset, name: str) -> tuple[np.ndarray, int, bool, tuple[str, ...]]:
    stored = dataset.pixel_array
    bits = int(dataset.get("BitsStored", dataset.BitsAllocated))
    photometric = str(dataset.PhotometricInterpretation)
    notes: list[str] = []
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        stored = stored.astype(np.float32) / np.iinfo(stored.dtype).max
    elif stored.ndim == 3:
        stored = stored.astype(np.float32) / (2**bits - 1)
    if stored.ndim == 3:
        colour = float((stored.max(axis=2) - stored.min(axis=2))[::4, ::4].mean()) > 0.02
        grey = stored @ np.array((0.299, 0.587, 0.114), np.float32)
        return np.clip(grey, 0, 1), bits, colour, ()
    if dataset.get("PresentationIntentType") == "FOR PROCESSING":
        notes.append(
            "This is a raw detector image (FOR PROCESSING), not the picture a radiologist reads."
        )
    values = apply_modality_lut(stored, dataset)
    if not np.isfinite(values).all():
        raise NotAnImage(name, "some of its grey values are not numbers.")
    grey = _to_unit(values, stored, dataset, notes)
    if photometric == "MONOCHROME1":
        grey = 1.0 - grey
    return grey, bits, False, tuple(notes)


def _to_unit(values, stored, dataset: pydicom.Dataset, notes: list[str]) -> np.ndarray:
    """Apply the VOI LUT or the first window; without either, the range of the values."""
    if dataset.get("VOILUTSequence"):
        return _apply_table(values, dataset.VOILUTSequence[0])
    center, width = (_first(dataset.get(k)) for k in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
    least = 1 if function == "LINEAR" else 0
    if center is not None and width is not None and width >= least and width > 0:
        return apply_window(values, center, width, function)
    if "WindowCenter" in dataset or "WindowWidth" in dataset:
        notes.append("The file's window makes no sense and was not used.")
    shown = values[~_padding(stored, dataset)]
    shown = shown if shown.size else values
    low, high = float(shown.min()), float(shown.max())
    notes.append("No window was applied; the grey scale spans the darkest to the brightest value.")
    return np.clip((values.astype(np.float32) - low) / max(high - low, 1e-12), 0, 1)


def _padding(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Where the picture is filled up, by Pixel Padding Value and Range Limit."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)


def _apply_table(values: np.ndarray, item: pydicom.Dataset) -> np.ndarray:
    """Apply the table of a VOI LUT Sequence item and return values in [0, 1].

    pydicom's own looks entries up by an index of the entries' type, which wraps round
    in tables of 8 bits with more than 256 entries.
    """
    entries, first, bits = (int(v) for v in item.LUTDescriptor)
    entries = entries or 65536
    data = item.LUTData
    if isinstance(data, bytes):
        kind = np.uint8 if len(data) < 2 * entries else np.dtype("<u2")
        data = np.frombuffer(data, kind)
    table = np.asarray(data, np.float32)[:entries]
    place = np.clip(values.astype(np.int64) - first, 0, len(table) - 1)
    brightest = max(float(table.max()), 1.0)
    declared = 2.0**bits - 1
    # Some writers declare 16 bits over entries of 12: the entries then say what white is.
    return (table / (declared if declared / 4 < brightest <= declared else brightest))[place]


def apply_window(
    values: np.ndarray, center: float, width: float, function: str = "LINEAR"
) -> np.ndarray:
    """Apply a VOI window and return values in [0, 1] (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: after the modality LUT, any shape.
        center: window centre.
        width: window width, at least 1 (a width of 1 is a threshold).
        function: ``"LINEAR"``, ``"LINEAR_EXACT"`` or ``"SIGMOID"``.
    """
    values = np.asarray(values, dtype=np.float32)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -80, 80)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > center - 0.5).astype(np.float32)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _first(value) -> float | None:
    if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
        value = value[0] if len(value) else None
    if value is None or value == "" or not math.isfinite(float(value)):
        return None
    return float(value)


def _word(dataset: pydicom.Dataset, keyword: str) -> str | None:
    """Return a code string, or ``None`` for what cannot be one.

    In a damaged header a value may run on into the next elements, the patient's name among
    them. These hold bytes that a code string never does.
    """
    word = str(dataset.get(keyword, "") or "").strip().upper()
    return word if re.fullmatch(r"[A-Z0-9 _./\-]{1,32}", word) else None


def _laterality(dataset: pydicom.Dataset) -> str | None:
    word = _word(dataset, "ImageLaterality") or _word(dataset, "Laterality")
    return word if word in ("R", "L", "B") else None


def _spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    value = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if value is None or len(value) != 2:
        return None
    row, column = float(value[0]), float(value[1])
    return (row, column) if row > 0 and column > 0 else None
