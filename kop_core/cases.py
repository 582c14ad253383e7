"""Uploaded files and what came of them: the working list of the classify page.

A case keeps a preview and the verdict, not the full picture, so that fifty large
radiographs fit in memory.
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

from kop_core import overlay, radiographs, wording
from kop_core.classes import CLASS_NAMES
from kop_core.errors import KopError, RadiographError
from kop_core.prediction import Prediction
from kop_core.radiographs import Radiograph

if TYPE_CHECKING:
    from kop_core.classifier import Classifier
    from kop_core.explanation import Influence

PREVIEW_SIDE = 1024
_THUMBNAIL_SIDE = 96
# In an archive of overlays, which were not made, and why.
NOT_MADE = "not_made.txt"


@dataclass(frozen=True, eq=False)
class Case:
    """One uploaded file.

    Attributes:
        name: the file's name.
        key: digest of its bytes.
        preview: the radiograph at display size, or ``None`` if it could not be read.
        thumbnail: a small PNG of it, or ``None``.
        size: width and height of the original.
        prediction: what the model says, or ``None``.
        error: why there is no prediction, as a sentence, or ``None``.
    """

    name: str
    key: str
    preview: Radiograph | None = None
    thumbnail: bytes | None = None
    size: tuple[int, int] | None = None
    prediction: Prediction | None = None
    error: str | None = None

    def facts(self) -> list[tuple[str, str]]:
        """Return what is known of the file, as pairs of words."""
        if self.preview is None or self.size is None:
            return [("File", self.name)]
        shown = self.preview
        side = {"R": "right", "L": "left", "B": "both"}.get(shown.laterality or "")
        spacing = (
            shown.pixel_spacing and f"{shown.pixel_spacing[0]:g} × {shown.pixel_spacing[1]:g} mm"
        )
        pairs = (
            ("File", self.name),
            ("Format", f"{shown.format}, {shown.bits} bit"),
            ("Size", f"{self.size[0]:,} × {self.size[1]:,} pixels"),
            ("Modality", shown.modality),
            ("Body part", shown.body_part and shown.body_part.capitalize()),
            ("View", shown.view),
            ("Laterality", side),
            ("Pixel spacing, at the detector", spacing),
        )
        return [(k, v) for k, v in pairs if v]


def examine(data: bytes, name: str, classifier: Classifier) -> Case:
    """Read and classify one uploaded file. What goes wrong with the file is in the case."""
    key = hashlib.sha256(data).hexdigest()
    case = Case(name, key)
    try:
        radiograph = radiographs.read(data, name)
        preview = _preview(radiograph)
        case = replace(
            case,
            preview=preview,
            thumbnail=overlay.to_png(overlay.render(preview, _THUMBNAIL_SIDE)),
            size=(radiograph.width, radiograph.height),
        )
        return replace(case, prediction=classifier.classify(radiograph))
    except RadiographError as error:
        return replace(case, error=str(error))
    except KopError as error:
        return replace(case, error=f"{name}: {error}")


def _preview(radiograph: Radiograph) -> Radiograph:
    pixels = overlay.scaled(radiograph, PREVIEW_SIDE)
    kept = (
        "name",
        "format",
        "bits",
        "sha256",
        "colour",
        "modality",
        "body_part",
        "view",
        "laterality",
        "pixel_spacing",
        "notes",
    )
    return Radiograph(pixels, **{k: getattr(radiograph, k) for k in kept})


CSV_COLUMNS = (
    "file",
    "class",
    "how_sure",
    *(f"p_{n}" for n in CLASS_NAMES),
    "model",
    "version",
    "calibrated",
    "cautions",
    "error",
)


def to_csv(cases: Iterable[Case]) -> str:
    """Return the batch as a CSV table, a row a file, in order."""
    stream = io.StringIO()
    rows = csv.DictWriter(stream, CSV_COLUMNS)
    rows.writeheader()
    for case in cases:
        row = {"file": spreadsheet_safe(case.name), "error": spreadsheet_safe(case.error or "")}
        if (p := case.prediction) is not None:
            row |= {
                "class": p.class_name,
                "how_sure": wording.sureness(p),
                **{f"p_{n}": f"{v:.6f}" for n, v in p.probabilities.items()},
                "model": p.model,
                "version": p.version,
                "calibrated": "yes" if p.calibrated else "no",
                "cautions": " ".join(p.cautions),
            }
        rows.writerow(row)
    return stream.getvalue()


def spreadsheet_safe(text: str) -> str:
    """Keep a spreadsheet from taking a file's name for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text


def overlay_name(file: str, class_name: str, method: str, taken: set[str]) -> str:
    """Return a file name for an overlay that is not in ``taken`` yet, and put it there."""
    # A name from Windows may hold backslashes; a name may be as long as a file system takes.
    plain = PureWindowsPath(file).stem.encode()[:150].decode(errors="ignore")
    stem = f"{plain}_{class_name}_{method}"
    name, number = f"{stem}.png", 2
    while name.lower() in taken:
        name, number = f"{stem}_{number}.png", number + 1
    taken.add(name.lower())
    return name


def zip_overlays(cases: Sequence[Case], explain: Callable[[int], Influence], method: str) -> bytes:
    """Return the overlays of a batch as one zip archive, with a note of those not made, and why.

    Args:
        cases: the batch.
        explain: what spoke for the class that was called, by a case's place.
        method: by which that was found; see :data:`kop_core.explanation.METHODS`.
    """
    stream, taken, not_made = io.BytesIO(), set(), []
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for place, case in enumerate(cases):
            why = case.error or "It was not classified."
            if case.prediction is not None:
                called = case.prediction.class_name
                try:
                    influence = explain(place)
                except KopError as error:
                    why = str(error)
                else:
                    if influence.evidence:
                        picture = overlay.blend(overlay.render(case.preview), influence)
                        name = overlay_name(case.name, called, method, taken)
                        archive.writestr(name, overlay.to_png(picture))
                        continue
                    why = f"Nothing in the picture speaks for {called} by this method."
            # What is wrong with a file names it already.
            not_made.append(why if why.startswith(case.name) else f"{case.name}: {why}")
        if not_made:
            archive.writestr(NOT_MADE, "\n".join(["No overlay of:", *not_made, ""]))
    return stream.getvalue()
