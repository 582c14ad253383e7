"""The value that everything else works on: one radiograph, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Radiograph:
    """One radiograph, without anything that names the patient.

    Attributes:
        pixels: float32, shape (H, W), 0 black (air) to 1 white (dense), read-only.
        name: the file's name, without folders.
        format: ``"PNG"``, ``"JPEG"``, ``"TIFF"``, ``"BMP"``, ``"WEBP"`` or ``"DICOM"``.
        bits: bits a grey value had in the file.
        sha256: hexadecimal digest of the file's bytes.
        colour: whether the file's pixels carried colour (a photograph, or marks).
        modality: DICOM modality (``CR``, ``DX``), else ``None``.
        body_part: DICOM Body Part Examined, upper case, else ``None``.
        view: DICOM View Position (``AP``, ``LL``), else ``None``.
        laterality: ``"R"``, ``"L"`` or ``"B"`` (both), else ``None``.
        pixel_spacing: millimetres a pixel, (rows, columns), as the file says;
            without calibration it holds at the detector, not in the patient.
        notes: sentences on how the picture had to be read.
    """

    pixels: np.ndarray
    name: str
    format: str
    bits: int
    sha256: str
    colour: bool = False
    modality: str | None = None
    body_part: str | None = None
    view: str | None = None
    laterality: str | None = None
    pixel_spacing: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        low, high = float(self.pixels.min()), float(self.pixels.max())
        if self.pixels.dtype != np.float32 or not (low >= 0 and high <= 1):  # NaN fails too
            raise ValueError("the pixels of a radiograph are float32 between 0 and 1")
        self.pixels.setflags(write=False)

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.pixels.shape[1]
