"""Every error that KOP raises on purpose.

Each message is one or two sentences for the person in front of the screen: what
happened, why, and what to do. ``code`` is a short stable name for programs.
"""


class KopError(Exception):
    """Base of all errors that KOP raises on purpose."""

    code = "error"


class RadiographError(KopError):
    """A file could not be read as a radiograph.

    Args:
        file: name of the file as the person knows it.
        reason: why, as a sentence without the file's name.
    """

    code = "unreadable"

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(f"{file}: {reason}")
        self.file = file
        self.reason = reason


class FileMissing(RadiographError):
    """There is no such file, or it may not be opened."""

    code = "missing"


class EmptyFile(RadiographError):
    """The file holds no bytes."""

    code = "empty"


class NotAnImage(RadiographError):
    """The bytes are no picture in a format that KOP reads."""

    code = "not_an_image"


class TruncatedImage(RadiographError):
    """The picture begins well and ends too early or breaks off inside."""

    code = "truncated"


class ImageTooLarge(RadiographError):
    """The file or the size that it declares is above the limits."""

    code = "too_large"


class ImageTooSmall(RadiographError):
    """The picture has too few pixels to show a knee."""

    code = "too_small"


class MultipleFrames(RadiographError):
    """The file holds several pictures, and only one can be meant."""

    code = "multiple_frames"


class OutOfMemory(RadiographError):
    """There was not enough memory to read the file; that says nothing of the file."""

    code = "out_of_memory"


class NoPixels(RadiographError):
    """A DICOM object without a picture: a report, a structure set, a plan."""

    code = "no_pixels"


class WrongModality(RadiographError):
    """A DICOM image that is no plain radiograph: CT, MR, ultrasound …"""

    code = "wrong_modality"


class WrongBodyPart(RadiographError):
    """The file says of itself that it shows something other than a knee."""

    code = "wrong_body_part"


class UnknownNetwork(KopError):
    """No network of that name is registered."""

    code = "unknown_network"


class WeightsError(KopError):
    """Weights that were trained elsewhere are not here, or are of another network."""

    code = "weights"


class ModelError(KopError):
    """A model folder is missing, incomplete or altered."""

    code = "model"


class UnknownModel(ModelError):
    """No model of that id is in the model folder."""

    code = "unknown_model"


class DataSetError(KopError):
    """A folder of images cannot serve as a data set."""

    code = "data_set"


class RunError(KopError):
    """A training run cannot start, go on or be published."""

    code = "run"


class UnknownRun(RunError):
    """No run of that id is in the runs folder."""

    code = "unknown_run"


class MarkError(KopError):
    """A mark on a case cannot be kept, or those that were kept cannot be read."""

    code = "mark"


class ExportError(KopError):
    """A model or a run cannot be written in another program's format."""

    code = "export"


class BundleError(KopError):
    """A zip archive is no model of another KOP, or not a whole one."""

    code = "bundle"


class ExplanationError(KopError):
    """A map of influence was asked for that does not exist."""

    code = "explanation"
