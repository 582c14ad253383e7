"""Pictures behind a model's test files: found, and never another one under a name."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kop_core import source_images
from kop_core.datasets import scan
from kop_core.errors import DataSetError
from kop_core.model_store import Model
from kop_core.source_images import SourceImages
from kop_core.training import TrainingConfig, kept_data, trainer
from kop_core.training.run_folder import RunFolder, write_json


@pytest.fixture
def model(shipped, small_data) -> Model:
    """A model whose card says that it was tested on the small data."""
    data = {**shipped.card["data"], "name": small_data.name,
            "fingerprint": scan(small_data).fingerprint}  # fmt: skip
    return Model(shipped.folder, {**shipped.card, "data": data})


@pytest.fixture
def runs_root(tmp_path) -> Path:
    return tmp_path / "runs"


def make_run(root: Path, folder: Path) -> None:
    """Write what a run on the data leaves, without training it."""
    config = TrainingConfig(network="paper", split="random")
    data = scan(folder)
    run = RunFolder(root / "20260101-01-paper")
    run.create()
    split = trainer.split_of(data, config)
    split.write(run.split)
    write_json(run.record, trainer._record(config, data, split))


FILE = "Normal/Normal 3.png"


def test_a_folder_that_is_named_is_taken_if_it_is_the_data(model, small_data, runs_root):
    found = source_images.find(model, small_data, runs_root)
    assert found.read(FILE) == (small_data / FILE).read_bytes()
    assert found.facts(FILE) == source_images.Facts((96, 128), None)
    assert found.trained_on is None and len(found.items) == 36
    # Moved as a whole it is the same data.
    moved = shutil.move(small_data, runs_root.parent / "elsewhere")
    assert source_images.find(model, Path(moved), runs_root).read(FILE)


def test_other_data_is_refused(model, small_data, runs_root, tmp_path):
    with pytest.raises(DataSetError, match="not where KOP looks"):
        source_images.find(model, None, runs_root)
    other = shutil.copytree(small_data, tmp_path / "other")
    first, second = sorted((other / "Normal").iterdir())[:2]
    swapped = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(swapped)
    with pytest.raises(
        DataSetError, match=r"another fingerprint than the .* files of .* is enough"
    ):
        source_images.find(model, other, runs_root)
    with pytest.raises(DataSetError, match="is not a folder"):
        source_images.find(model, tmp_path / "nowhere", runs_root)
    unknown = Model(model.folder, {**model.card, "data": {"name": "x"}})
    with pytest.raises(DataSetError, match="not on its card"):
        source_images.find(unknown, small_data, runs_root)


def test_where_a_run_read_them(model, small_data, runs_root):
    make_run(runs_root, small_data)
    found = source_images.find(model, None, runs_root)
    assert found.root == small_data and found.read(FILE)
    assert found.trained_on is None  # the run is not the one that made the model
    # With the digests of a run, what is left of the folder can still be shown, file by file.
    (small_data / "Normal" / "Normal 4.png").unlink()
    (small_data / "Normal" / "Normal 5.png").write_bytes((small_data / FILE).read_bytes())
    found = source_images.find(model, None, runs_root)
    assert found.read(FILE)
    with pytest.raises(DataSetError, match="no longer in"):
        found.read("Normal/Normal 4.png")
    with pytest.raises(DataSetError, match="not the picture that was measured"):
        found.read("Normal/Normal 5.png")


def test_what_was_unpacked_for_runs(model, small_data, runs_root):
    place = kept_data.folder(runs_root) / "0123456789abcdef01234567"
    place.mkdir(parents=True)
    shutil.move(small_data, place / small_data.name)
    assert source_images.find(model, None, runs_root).read(FILE)
    sly = Model(model.folder, {**model.card, "data": {**model.card["data"], "name": "../.."}})
    with pytest.raises(DataSetError, match="not where KOP looks"):
        source_images.find(sly, None, runs_root)


def test_pictures_that_change_or_go_after_they_were_found(model, small_data, runs_root):
    found = source_images.find(model, small_data, runs_root)
    (small_data / FILE).write_bytes((small_data / "Normal" / "Normal 4.png").read_bytes())
    with pytest.raises(DataSetError, match="not the picture that was measured"):
        found.read(FILE)
    shutil.rmtree(small_data)
    with pytest.raises(DataSetError, match="Put it back"):
        found.read("Normal/Normal 4.png")
    assert found.facts(FILE) == source_images.Facts()


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/hostname", "Normal/../../secret.png", "", "C:/x.png", "a\0b",
     "..\\secret.png", "Normal/link.png"],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder(small_data, tmp_path, name):
    secret = tmp_path / "secret.png"
    secret.write_bytes((small_data / FILE).read_bytes())
    (small_data / "Normal" / "link.png").symlink_to(secret)
    data = scan(small_data)
    # Even a table that names it with its digest does not open it.
    digest = next(i.sha256 for i in data.items if i.file == FILE)
    items = (*data.items, replace(data.items[0], file=name, sha256=digest))
    with pytest.raises(DataSetError, match="no file of the data"):
        SourceImages(small_data, items).read(name)
    assert SourceImages(small_data, items).facts(name).size is None


def test_the_side_is_what_a_table_or_a_header_says(model, small_data, runs_root):
    (small_data / "patients.csv").write_text(
        f"file,patient,Knee\n{FILE},P1,R\nNormal/Normal 4.png,P1,unclear\n"
    )
    found = source_images.find(model, small_data, runs_root)
    assert found.facts(FILE).laterality == "right"
    assert found.facts("Normal/Normal 4.png").laterality is None
    header = make_header("L")
    (small_data / "Normal" / "knee.dcm").write_bytes(header)
    found = SourceImages(small_data, scan(small_data).items, sides={"Normal/knee.dcm": "right"})
    assert found.facts("Normal/knee.dcm") == source_images.Facts((30, 40), "left")


def make_header(side: str) -> bytes:
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = FileDataset("knee", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.Rows, dataset.Columns, dataset.ImageLaterality = 40, 30, side
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset)
    return stream.getvalue()
