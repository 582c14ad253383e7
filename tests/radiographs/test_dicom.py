"""DICOM: the grey-scale pipeline of the standard, transfer syntaxes, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from kop_core import errors
from kop_core.radiographs import Limits, read
from kop_core.radiographs.dicom import apply_window
from tests.radiographs.test_reading import RELAXED, read_or_named_error

RAMP = np.tile(np.linspace(0, 4095, 64).astype(np.uint16), (48, 1))


def dataset(stored: np.ndarray = RAMP, **values) -> Dataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    found = Dataset()
    found.file_meta = meta
    found.SOPClassUID = meta.MediaStorageSOPClassUID
    found.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    found.Modality = "DX"
    found.BodyPartExamined = "KNEE"
    found.PatientName = "Doe^Jane"
    found.PatientID = "SECRET-17"
    found.PatientBirthDate = "19500101"
    found.Rows, found.Columns = stored.shape[:2]
    found.SamplesPerPixel = 1 if stored.ndim == 2 else 3
    found.PhotometricInterpretation = "MONOCHROME2" if stored.ndim == 2 else "RGB"
    if stored.ndim == 3:
        found.PlanarConfiguration = 0
    found.BitsAllocated = stored.dtype.itemsize * 8
    found.BitsStored = 12 if stored.dtype == np.uint16 else 8
    found.HighBit = found.BitsStored - 1
    found.PixelRepresentation = 0
    found.PixelData = stored.tobytes()
    for name, value in values.items():
        if value is None:
            delattr(found, name)
        else:
            setattr(found, name, value)
    return found


def as_bytes(found: Dataset) -> bytes:
    stream = io.BytesIO()
    found.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def pixels(found: Dataset) -> np.ndarray:
    return read(as_bytes(found), "knee.dcm").pixels


def test_what_is_kept_and_what_is_not():
    found = dataset(ImageLaterality="R", ViewPosition="AP", PixelSpacing=[0.15, 0.16])
    radiograph = read(as_bytes(found), "knee.dcm")
    assert (radiograph.format, radiograph.bits, radiograph.modality) == ("DICOM", 12, "DX")
    assert (radiograph.body_part, radiograph.view, radiograph.laterality) == ("KNEE", "AP", "R")
    assert radiograph.pixel_spacing == (0.15, 0.16)
    kept = repr({k: v for k, v in vars(radiograph).items() if k != "pixels"})
    for secret in ("Doe", "Jane", "SECRET-17", "1950"):
        assert secret not in kept


def test_laterality_falls_back_and_unknown_is_none():
    assert read(as_bytes(dataset(Laterality="L")), "a").laterality == "L"
    assert read(as_bytes(dataset(ImageLaterality="U")), "a").laterality is None


def test_window():
    shown = pixels(dataset(WindowCenter=2048, WindowWidth=1024))
    expected = np.clip((RAMP - 2047.5) / 1023 + 0.5, 0, 1)
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_first_of_several_windows():
    one = pixels(dataset(WindowCenter=2048, WindowWidth=1024))
    several = pixels(dataset(WindowCenter=[2048, 9], WindowWidth=[1024, 3]))
    np.testing.assert_array_equal(one, several)


def test_without_a_window_the_values_span_the_scale():
    found = dataset()
    radiograph = read(as_bytes(found), "a")
    np.testing.assert_allclose(radiograph.pixels, RAMP / 4095, atol=1e-4)
    assert any("No window" in note for note in radiograph.notes)


def test_padding_does_not_count():
    stored = np.minimum(RAMP, 2000)
    stored[:, :8] = 4095
    padded, unpadded = pixels(dataset(stored, PixelPaddingValue=4095)), pixels(dataset(stored))
    assert padded[0, 40] == 1.0
    assert unpadded[0, 40] < 0.5


def test_monochrome1_is_turned_over():
    plain = pixels(dataset(WindowCenter=2048, WindowWidth=4096))
    turned = pixels(
        dataset(WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation="MONOCHROME1")
    )
    np.testing.assert_allclose(turned, 1 - plain, atol=1e-6)


def test_modality_lut_comes_before_the_window():
    shown = pixels(
        dataset(RescaleSlope=2, RescaleIntercept=-1000, RescaleType="US",
                WindowCenter=2048 * 2 - 1000, WindowWidth=1024)
    )  # fmt: skip
    expected = np.clip((RAMP * 2.0 - 1000 - (2048 * 2 - 1000.5)) / 1023 + 0.5, 0, 1)
    np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_voi_table_is_preferred_to_the_window():
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 12]
    table.LUTData = (4095 - np.arange(4096)).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    shown = pixels(dataset(VOILUTSequence=Sequence([table]), WindowCenter=10, WindowWidth=2))
    np.testing.assert_allclose(shown, 1 - RAMP / 4095, atol=1e-5)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_functions(function):
    found = apply_window(np.array([-1e9, 100.0, 1e9]), 100, 50, function)
    assert found[0] == pytest.approx(0, abs=1e-6) and found[2] == pytest.approx(1, abs=1e-6)
    assert found[1] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_lossless_transfer_syntaxes(syntax):
    found = dataset(WindowCenter=2048, WindowWidth=4096)
    plain = pixels(found)
    found.compress(syntax)
    np.testing.assert_array_equal(pixels(found), plain)


def jpeg_dataset(grey: np.ndarray, **values) -> Dataset:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=98)
    found = dataset(grey, **values)
    found.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    found.PixelData = encapsulate([stream.getvalue()])
    found["PixelData"].VR = "OB"
    return found


def test_jpeg_secondary_capture():
    grey = (RAMP // 16).astype(np.uint8)
    found = jpeg_dataset(grey, Modality="CR", SOPClassUID=SecondaryCaptureImageStorage,
                         WindowCenter=128, WindowWidth=256)  # fmt: skip
    np.testing.assert_allclose(pixels(found), grey / 255, atol=0.02)


def test_colour_secondary_capture():
    rgb = np.repeat((RAMP // 16).astype(np.uint8)[..., None], 3, axis=2)
    radiograph = read(as_bytes(dataset(rgb)), "a")
    np.testing.assert_allclose(radiograph.pixels, rgb[..., 0] / 255, atol=1e-4)
    assert not radiograph.colour


def test_a_picture_larger_inside_than_its_header_is_not_decoded():
    found = jpeg_dataset((RAMP // 16).astype(np.uint8), Rows=40)
    with pytest.raises(errors.ImageTooLarge, match="inside"):
        read(as_bytes(found), "knee.dcm")
    found = dataset()
    found.compress(JPEG2000Lossless)
    found.Columns = 32
    with pytest.raises(errors.ImageTooLarge, match="inside"):
        read(as_bytes(found), "knee.dcm")


def stream_of(found: Dataset) -> bytes:
    return next(pydicom.encaps.generate_frames(found.PixelData, number_of_frames=1))


def test_fill_bytes_do_not_hide_the_size():
    found = jpeg_dataset((RAMP // 16).astype(np.uint8))
    stream = stream_of(found)
    found.PixelData = encapsulate([stream[:2] + b"\xff\xff\xff" + stream[2:]])
    assert read(as_bytes(found), "a").width == 64
    found.Rows = 40
    with pytest.raises(errors.ImageTooLarge, match="inside"):
        read(as_bytes(found), "a")


def test_a_stream_of_many_components_is_not_decoded():
    found = dataset()
    found.compress(JPEG2000Lossless)
    stream = bytearray(stream_of(found))
    stream[40:42] = (100).to_bytes(2, "big")
    found.PixelData = encapsulate([bytes(stream)])
    with pytest.raises(errors.ImageTooLarge, match="100 channels"):
        read(as_bytes(found), "a")


def test_a_stream_whose_size_cannot_be_told_is_not_decoded():
    found = dataset()
    found.compress(JPEG2000Lossless)
    box = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
    found.PixelData = encapsulate([box + stream_of(found)])
    with pytest.raises(errors.NotAnImage, match="compressed in a way"):
        read(as_bytes(found), "a")


@pytest.mark.parametrize("value", [b"NaN    ", b"1e400  "])
def test_a_window_of_no_number_is_not_used(value):
    data = as_bytes(dataset(WindowCenter=11111.5, WindowWidth=11111.5))
    assert data.count(b"11111.5") == 2
    data = data.replace(b"11111.5", value)
    radiograph = read(data, "a")
    np.testing.assert_allclose(radiograph.pixels, RAMP / 4095, atol=1e-4)
    assert any("makes no sense" in note for note in radiograph.notes)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_tables_of_every_depth(bits):
    """8 bits over more than 256 entries, and 12 bits of entries declared as 16."""
    top = 255 if bits == 8 else 4095
    entries = np.linspace(0, top, 4096).astype(np.uint16)
    table = Dataset()
    table.LUTDescriptor = [4096, 0, bits]
    table.LUTData = entries.tobytes()
    table["LUTData"].VR = "OW"
    shown = pixels(dataset(VOILUTSequence=Sequence([table])))
    np.testing.assert_allclose(shown, RAMP / 4095, atol=0.005)


@pytest.mark.parametrize("name", ["old.dcm", "OLD.DICOM"])
def test_old_exports_without_preamble_and_file_meta(name):
    found = dataset(WindowCenter=2048, WindowWidth=4096)
    plain = pixels(found)
    for implicit in (True, False):
        stream = io.BytesIO()
        del found.file_meta
        found.save_as(stream, implicit_vr=implicit, little_endian=True)
        np.testing.assert_array_equal(read(stream.getvalue(), name).pixels, plain)
        found.file_meta = FileMetaDataset()


@pytest.mark.parametrize(
    ("found", "kind", "says"),
    [
        (dataset(Modality="CT", BodyPartExamined="CHEST"), errors.WrongModality, "computed tomo"),
        (dataset(Modality="MR"), errors.WrongModality, "magnetic"),
        (dataset(Modality="MG"), errors.WrongModality, "mammography"),
        (dataset(Modality="OT"), errors.WrongModality, "unspecified"),
        (dataset(Modality=""), errors.WrongModality, "unknown"),
        (dataset(NumberOfFrames=12), errors.MultipleFrames, "12 frames"),
        (dataset(PixelData=None, Rows=None), errors.NoPixels, "no picture"),
        (dataset(PixelData=None), errors.TruncatedImage, "breaks off"),
        (dataset(PixelData=b"\0\0" * 99), errors.TruncatedImage, "damaged"),
        (dataset(Rows=30000, Columns=30000), errors.ImageTooLarge, "30,000 × 30,000"),
        (dataset(np.zeros((4, 4), np.uint16)), errors.ImageTooSmall, "4 × 4"),
    ],
)
def test_refused_with_a_reason(found, kind, says):
    with pytest.raises(kind, match=says):
        read(as_bytes(found), "knee.dcm")


@pytest.mark.parametrize("version", [b"\x00\x01", b"\x00\x01" * 200_000])
def test_deflated_files_are_not_unpacked(version):
    found = dataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    found.file_meta.FileMetaInformationVersion = version
    with pytest.raises(errors.NotAnImage, match="deflated"):
        read(as_bytes(found), "knee.dcm")


def test_truncated_file():
    data = as_bytes(dataset())
    with pytest.raises(errors.TruncatedImage):
        read(data[: len(data) - 3000], "knee.dcm")


def test_the_real_files(shared):
    for path in sorted((shared / "dicom").glob("knee*.dcm")):
        radiograph = read(path)
        assert radiograph.modality == "DX" and radiograph.body_part == "KNEE"
        assert radiograph.pixel_spacing == (0.148, 0.148)
        assert radiograph.laterality is None
        assert radiograph.pixels.shape[1] == 1625
    assert read(shared / "dicom" / "chest_1.dcm").body_part == "CHEST"


PLAIN = as_bytes(dataset(WindowCenter=2048, WindowWidth=4096))
PACKED = dataset()
PACKED.compress(JPEG2000Lossless)
PACKED = as_bytes(PACKED)


def test_a_value_that_runs_on_into_the_patients_name_is_not_shown():
    data = bytearray(as_bytes(dataset(PixelData=None, Rows=None)))
    at = data.index(b"\x08\x00\x60\x00CS")
    data[at + 6] = 34  # the modality's length: it now holds the next elements too
    with pytest.raises(errors.RadiographError) as caught:
        read(bytes(data), "knee.dcm")
    assert "JANE" not in str(caught.value).upper()


@RELAXED
@given(st.data())
def test_damaged_dicom(data):
    whole = bytearray(data.draw(st.sampled_from([PLAIN, PACKED])))
    header = min(len(whole), 1200)
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    read_or_named_error(bytes(whole[: data.draw(st.integers(1, len(whole)))]))


def test_limits_hold_for_dicom():
    with pytest.raises(errors.ImageTooLarge):
        read(PLAIN, "a", limits=Limits(max_pixels=1000))
