"""DICOM radiographs, by the grey-scale pipeline of the standard (PS3.3 C.11, PS3.4 N.2).

Modality LUT, then VOI LUT or window, then MONOCHROME1 turned over, so that dense is
white. Names, ids and dates of the patient are never looked at.
"""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

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
_DEFLATED = b"1.2.840.10008.1.2.1.99"
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
    if _DEFLATED in data[: 1 << 18]:
        raise NotAnImage(
            name,
            "the DICOM file is deflated as a whole, which KOP does not unpack. Export it "
            "uncompressed or as JPEG.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of headers that do no harm here
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_TAGS))
            _check(dataset, name, limits)
            pixels, bits, colour, notes = _grey(dataset, name)
            return Radiograph(
                pixels=np.ascontiguousarray(pixels, dtype=np.float32),
                name=name,
                format="DICOM",
                bits=bits,
                sha256=digest,
                colour=colour,
                modality=str(dataset.Modality),
                body_part=_word(dataset, "BodyPartExamined"),
                view=_word(dataset, "ViewPosition"),
                laterality=_laterality(dataset),
                pixel_spacing=_spacing(dataset),
                notes=notes,
            )
        except RadiographError:
            raise
        except Exception as error:  # hostile bytes make decoders raise anything at all
            raise TruncatedImage(
                name,
                "the DICOM file breaks off or its picture is damaged and cannot be decoded. "
                "Export it again.",
            ) from error


def _check(dataset: pydicom.Dataset, name: str, limits) -> None:
    """Everything that can be refused from the header alone."""
    modality = str(dataset.get("Modality", "") or "").strip().upper()
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
    syntax = dataset.file_meta.get("TransferSyntaxUID") if "file_meta" in dir(dataset) else None
    if syntax is not None and syntax.is_encapsulated:
        _check_codestream(dataset, name, rows, columns)


def _check_codestream(dataset: pydicom.Dataset, name: str, rows: int, columns: int) -> None:
    """Refuse a compressed picture that is larger inside than its header says."""
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    size = _codestream_size(frame)
    if size is not None and size != (rows, columns):
        raise ImageTooLarge(
            name,
            f"the compressed picture inside is {size[1]:,} × {size[0]:,} pixels, but the header "
            f"says {columns:,} × {rows:,}. Such a file is not decoded.",
        )


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream declares, else ``None``."""
    siz = frame.find(b"\xff\x4f\xff\x51")
    if 0 <= siz < 4096:  # JPEG 2000: the SIZ marker follows the start at once
        x1, y1, x0, y0 = struct.unpack_from(">4I", frame, siz + 8)
        return y1 - y0, x1 - x0
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        is_frame_header = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if is_frame_header or marker == 0xF7:  # F7: JPEG-LS
            return struct.unpack_from(">2H", frame, at + 5)
        at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return None


def _grey(dataset: pydicom.Dataset, name: str) -> tuple[np.ndarray, int, bool, tuple[str, ...]]:
    stored = dataset.pixel_array
    bits = int(dataset.get("BitsStored", dataset.BitsAllocated))
    photometric = str(dataset.PhotometricInterpretation)
    notes: list[str] = []
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        stored = stored.astype(np.float64) / np.iinfo(stored.dtype).max
    elif stored.ndim == 3:
        stored = stored.astype(np.float64) / (2**bits - 1)
    if stored.ndim == 3:
        colour = float((stored.max(axis=2) - stored.min(axis=2))[::4, ::4].mean()) > 0.02
        return np.clip(stored @ (0.299, 0.587, 0.114), 0, 1), bits, colour, ()
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
        table = dataset.VOILUTSequence[0]
        return np.clip(
            apply_voi(values, dataset, 0) / (2.0 ** int(table.LUTDescriptor[2]) - 1), 0, 1
        )
    center, width = (_first(dataset.get(k)) for k in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
    if center is not None and width is not None and width >= 1:
        return apply_window(values, center, width, function)
    shown = values
    if "PixelPaddingValue" in dataset and dataset.PixelPaddingValue is not None:
        kept = values[stored != int(dataset.PixelPaddingValue)]
        shown = kept if kept.size else values
    low, high = float(shown.min()), float(shown.max())
    notes.append(
        "The DICOM file has no window; the grey scale spans its darkest to brightest value."
    )
    return np.clip((values - low) / max(high - low, 1e-12), 0, 1)


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
    values = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _first(value) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, (list, tuple, pydicom.multival.MultiValue)):
        return float(value[0]) if len(value) else None
    return float(value)


def _word(dataset: pydicom.Dataset, keyword: str) -> str | None:
    return str(dataset.get(keyword, "") or "").strip().upper() or None


def _laterality(dataset: pydicom.Dataset) -> str | None:
    word = _word(dataset, "ImageLaterality") or _word(dataset, "Laterality")
    return word if word in ("R", "L", "B") else None


def _spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    value = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if value is None or len(value) != 2:
        return None
    row, column = float(value[0]), float(value[1])
    return (row, column) if row > 0 and column > 0 else None
