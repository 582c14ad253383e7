"""Models as zip archives: out, into another models folder, and what is made to do harm."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import stat
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from kop_core import model_store
from kop_core.classifier import Classifier
from kop_core.errors import BundleError, KopError, ModelError, RunError
from kop_core.exchange import bundles
from kop_core.exchange.bundles import read_bundle, write_bundle
from kop_core.radiographs import read

TAKEN = {"card.json", "model.keras", "history.csv", "predictions.csv"}
Files = dict[str, bytes]


def written(folder) -> bytes:
    stream = io.BytesIO()
    write_bundle(folder, stream)
    return stream.getvalue()


def unpacked(bundle: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture(scope="module")
def bundle(trained) -> bytes:
    return written(trained)


@pytest.fixture
def files(bundle) -> Files:
    """The four files that are taken, below a folder."""
    return {n: c for n, c in unpacked(bundle).items() if n.split("/")[1] in TAKEN}


@pytest.fixture
def models(tmp_path) -> Path:
    """A models folder with one model that is none of this bundle's."""
    folder = tmp_path / "models"
    (folder / "mine").mkdir(parents=True)
    (folder / "mine" / "card.json").write_text("{}")
    return folder


def listing(folder: Path) -> dict[str, bytes | None]:
    return {
        str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


@pytest.fixture
def refused(models) -> Callable[..., str]:
    """Hand in an archive; it must be refused, and nothing be left behind."""

    def refuse(archive, name: str = "brought", error: type[KopError] = BundleError) -> str:
        before = listing(models.parent)
        with pytest.raises(error) as raised:
            read_bundle(archive, name, models)
        assert listing(models.parent) == before
        said = str(raised.value)
        assert said.endswith((".", "…")) and "\n" not in said and len(said) < 1000
        return said

    return refuse


def unchanged(card: dict) -> None:
    return None


def with_card(files: Files, change: Callable[[dict], None] = unchanged) -> Files:
    """Alter a card, with the checksums that its maker would put there."""
    card = json.loads(files["run-1/card.json"])
    card["checksums"] = {
        name: hashlib.sha256(files[f"run-1/{name}"]).hexdigest() for name in model_store.FILES
    }
    change(card)
    return {**files, "run-1/card.json": json.dumps(card).encode()}


# Out.


def test_a_run_comes_out_with_its_files_and_a_readme(bundle, trained):
    files = unpacked(bundle)
    assert {n.split("/")[0] for n in files} == {"run-1"}
    assert {n.split("/")[1] for n in files} == {*TAKEN, "split.csv", "run.json", "README.txt"}
    for name in (*TAKEN, "split.csv"):
        assert files[f"run-1/{name}"] == (trained / name).read_bytes()
    assert written(trained) == written(model_store.open_model(trained)) == bundle
    said = files["run-1/README.txt"].decode()
    for statement in model_store.open_model(trained).card["statements"]:
        assert f"- {statement}\n" in said
    assert "bundle is patient data" in said


def test_no_place_of_the_machine_is_in_it(run_folder, data):
    path = run_folder / "run.json"
    record = json.loads(path.read_text())
    assert record["data"]["folder"] == str(data)
    record["data"]["passed_over"] = [["a.png", f"a link to {data}/b.png"], ["/home/jane/c.png"]]
    record["more"] = {"where": [r"C:\Users\jane\knees", "//server/jane/knees", "Normal/1.png"]}
    path.write_text(json.dumps(record))
    for name in ("request.json", "state.json", "log.txt"):
        (run_folder / name).write_text(f'"{data}"')
    files = unpacked(written(run_folder))
    for content in files.values():
        assert str(data).encode() not in content and b"jane" not in content
        assert str(run_folder.parent).encode() not in content
    kept = json.loads(files["run-1/run.json"])
    assert kept["config"] == record["config"] and kept["split"] == record["split"]
    assert kept["data"]["fingerprint"] == record["data"]["fingerprint"]
    assert kept["data"].keys() == record["data"].keys() - {"folder"}
    assert kept["data"]["passed_over"] == [["a.png", "a link to …/b.png"], ["c.png"]]
    assert kept["more"]["where"] == ["knees", "knees", "Normal/1.png"]


def test_what_cannot_be_written_is_said(run_folder):
    class Full(io.BytesIO):
        def write(self, content):
            raise OSError(28, "No space left on device")

    with pytest.raises(BundleError, match=r"cannot be written \(No space left"):
        write_bundle(run_folder, Full())
    (run_folder / "run.json").write_text('{"config": {}, "data": []}')
    assert json.loads(unpacked(written(run_folder))["run-1/run.json"])["data"] == {}
    (run_folder / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"no readable run\.json"):
        written(run_folder)
    with (run_folder / "predictions.csv").open("a") as stream:
        stream.write("x")
    with pytest.raises(ModelError, match="altered"):
        written(run_folder)
    (run_folder / "card.json").unlink()
    with pytest.raises(RunError, match=r"no finished run: it has no card\.json"):
        written(run_folder)


# In.


def test_a_bundle_read_into_an_empty_folder_is_the_model(trained, bundle, data, tmp_path):
    folder = tmp_path / "new" / "models"
    model = read_bundle(bundle, "brought", folder)
    assert model == model_store.get("brought", folder)
    model_store.verify(model)
    assert [p.name for p in folder.iterdir()] == ["brought"]
    assert {p.name for p in model.folder.iterdir()} == TAKEN
    for name in TAKEN - {"card.json"}:
        assert (model.folder / name).read_bytes() == (trained / name).read_bytes()
    before = model_store.open_model(trained)
    changed = {k for k in {*model.card, *before.card} if model.card.get(k) != before.card.get(k)}
    assert changed == {"id", "imported", "statements"}
    assert model.card["imported"]["id"] == "run-1"
    assert model.card["statements"][:-1] == before.card["statements"]
    assert "from another KOP" in model.card["statements"][-1]
    knee = read(data / "Osteopenia" / "Osteopenia 1.png")
    found = Classifier(model).classify(knee)
    assert found.model == "brought"
    assert found.probabilities == Classifier(before).classify(knee).probabilities


def test_the_shipped_model_goes_out_and_in(shipped, models, tmp_path):
    path = tmp_path / "shipped.zip"
    with path.open("wb") as stream:
        assert set(write_bundle(shipped, stream)) == {*TAKEN, "README.txt"}
    model = read_bundle(path, "again", models)
    assert model.metrics == shipped.metrics and model.cautions == shipped.cautions
    model_store.verify(model)


def test_a_bundle_is_taken_from_a_path_a_file_and_as_others_pack_it(bundle, files, models):
    path = models.parent / "b.zip"
    path.write_bytes(bundle)
    with path.open("rb") as stream:
        read_bundle(stream, "one", models)
    read_bundle(str(path), "two", models)
    flat = {n.split("/")[1]: c for n, c in files.items()}
    read_bundle(packed(flat, zipfile.ZIP_DEFLATED), "three", models)
    windows = {n.replace("/", "\\"): c for n, c in files.items()}
    litter = {"__MACOSX/run-1/._card.json": b"x", "run-1/.DS_Store": b"x", "run-1/": b""}
    model = read_bundle(packed({**windows, **litter}), "four", models)
    assert {p.name for p in model.folder.iterdir()} == TAKEN
    assert {p.name for p in models.iterdir()} == {"mine", "one", "two", "three", "four"}


def test_figures_that_are_not_compared_are_measured_anew(files, models, trained):
    def promise(card):
        card["evaluation"]["metrics"]["accuracy"] |= {"low": 0.99, "high": 1.0}
        card["evaluation"]["metrics"]["macro_f1"] = {"value": 0.99, "low": 0.98, "high": 1.0}
        card["evaluation"]["radiographs"] = 10_000

    model = read_bundle(packed(with_card(files, promise)), "brought", models)
    card = json.loads((trained / "card.json").read_text())
    assert model.card["evaluation"] == card["evaluation"]


def test_a_layer_that_is_code_is_never_run(files, models, data, tmp_path):
    import keras

    marker = tmp_path / "executed"
    code = f"lambda x: [open({str(marker)!r}, 'w').close(), x][1]"
    inputs = keras.Input((3,))
    hostile = keras.Model(inputs, keras.layers.Lambda(eval(code), output_shape=(3,))(inputs))
    hostile.save(tmp_path / "hostile.keras")
    marker.unlink(missing_ok=True)
    keras.saving.load_model(tmp_path / "hostile.keras", safe_mode=False)(np.zeros((1, 3)))
    assert marker.exists()  # opened as a whole, it would run
    marker.unlink()
    inner = unpacked(files["run-1/model.keras"])
    inner["config.json"] = unpacked((tmp_path / "hostile.keras").read_bytes())["config.json"]
    assert b"Lambda" in inner["config.json"]
    files["run-1/model.keras"] = packed(inner)
    model = read_bundle(packed(with_card(files)), "brought", models)
    knee = read(data / "Osteopenia" / "Osteopenia 1.png")
    assert Classifier(model).classify(knee).probabilities
    assert not marker.exists()


# What is refused.


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda b: b"", "no zip archive"),
        (lambda b: b"Dear colleague", "no zip archive"),
        (lambda b: b"\x89PNG\r\n\x1a\n" + bytes(500), "no zip archive"),
        (lambda b: b[:-300], "no model of KOP"),  # what is left ends like a model.keras
        (lambda b: b[: len(b) // 2], "no zip archive"),
        (lambda b: packed({}), "no model of KOP: there is no card.json"),
        (lambda b: packed({"thesis.txt": b"x"}), "no model of KOP"),
        (lambda b: packed({f"{i}.txt": b"" for i in range(65)}), "65 members"),
        (lambda b: packed({"x" * 40_000 + str(i): b"" for i in range(2)}), "list of members"),
    ],
)
def test_what_is_no_bundle_is_refused(bundle, refused, harm, says):
    assert says in refused(harm(bundle))


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_a_file_that_is_missing_or_damaged_is_named(bundle, files, refused, name):
    content = files.pop(f"run-1/{name}")
    assert (f"lacks its {name}" if name != "card.json" else "no card.json") in refused(
        packed(files)
    )
    whole = packed({**files, f"run-1/{name}": content})
    place = whole.index(content) + len(content) // 2
    spoilt = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    assert f"run-1/{name} in the archive is damaged" in refused(spoilt)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../card.json", "leads out"),
        ("run-1/../../mine/card.json", "leads out"),
        ("..\\..\\mine\\card.json", "leads out"),
        ("/etc/passwd", "absolute path"),
        ("\\\\server\\x", "absolute path"),
        ("C:\\Windows\\x", "absolute path"),
        ("/", "absolute path"),
        ("a/b/c/d/e.txt", "too deep"),
        ("x\x1b[31m.txt", "cannot be shown"),
    ],
)
def test_a_member_that_leads_elsewhere_takes_all_with_it(files, refused, name, says):
    said = refused(packed({**files, name: b"x"}))
    assert says in said and said.isprintable()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
@pytest.mark.parametrize("name", ["run-1/card.json", "run-1/history.csv", "run-1/more"])
def test_a_member_that_is_no_plain_file_takes_all_with_it(files, refused, kind, name):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, content in files.items():
            if member != name:
                archive.writestr(member, content)
        odd = zipfile.ZipInfo(name)
        odd.external_attr = (kind | 0o777) << 16
        archive.writestr(odd, b"../../mine/card.json")
    assert ("a link" if kind == stat.S_IFLNK else "not a plain file") in refused(stream.getvalue())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_of_a_name_and_two_models_are_refused(files, refused):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, content in (*files.items(), *files.items()):
            archive.writestr(member, content)
    assert "there twice" in refused(stream.getvalue())
    second = {n.replace("run-1", "run-2"): c for n, c in files.items()}
    assert "holds 2 models" in refused(packed({**files, **second}))
    assert "does not unpack" in refused(packed(files, zipfile.ZIP_BZIP2))


def bomb(files: Files, name: str, declared: int | None) -> bytes:
    """Put in place of a member one that unpacks to 4 GiB, and says what is wished of its size."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = squeeze.compress(bytes(2**22)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    content = piece * 1023 + squeeze.compress(bytes(2**22)) + squeeze.flush()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member, plain in files.items():
            archive.writestr(member, content if member == name else plain)
        info = archive.getinfo(name)
        info.compress_type, info.file_size = zipfile.ZIP_DEFLATED, declared or 2**32 - 2
    return stream.getvalue()


@pytest.mark.parametrize("name", sorted(TAKEN))
@pytest.mark.parametrize("declared", [None, 500])
def test_a_bomb_is_given_up_early(files, refused, name, declared):
    archive = bomb(files, f"run-1/{name}", declared)
    assert len(archive) < 8 * 2**20
    tracemalloc.start()
    try:
        said = refused(archive)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ("is damaged" if declared else "is the most that a model of KOP has") in said
    assert most < len(archive) + 2**24


def test_a_bomb_beside_the_model_is_not_unpacked(files, models):
    files["run-1/more.bin"] = b""
    model = read_bundle(bomb(files, "run-1/more.bin", None), "brought", models)
    assert {p.name for p in model.folder.iterdir()} == TAKEN


def test_altered_predictions_are_refused(files, refused):
    rows = files["run-1/predictions.csv"].decode().splitlines(keepends=True)
    altered = {**files, "run-1/predictions.csv": "".join(rows[:-1]).encode()}
    assert "predictions.csv of the model brought was altered" in refused(packed(altered))
    # with a checksum that fits, the card's figures are those of other predictions
    assert "are not those of its predictions" in refused(packed(with_card(altered)))
    for content in (b"", b"file\n", b"\xff\xfe", rows[0].encode(), b"x" * 2**20):
        nonsense = with_card({**files, "run-1/predictions.csv": content})
        assert "predictions" in refused(packed(nonsense))


def put(*path_and_value) -> Callable[[dict], None]:
    """Return a change of a card: a value at a path of keys."""
    *path, last, value = path_and_value

    def change(card: dict) -> None:
        for key in path:
            card = card[key]
        card[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (put("evaluation", "metrics", "accuracy", {"value": 0.99, "low": 0.98, "high": 1.0}),
         "not those of its predictions"),
        (put("evaluation", "confusion", [[2, 0, 0], [0, 2, 0], [0, 0, 2]]),
         "not those of its predictions"),
        (put("network", "resnet-9000"), "no network called 'resnet-9000'"),
        (put("network", "paper"), "sets 'width' of the network paper"),
        (put("options", {"dropout": "0.1"}), "sets 'dropout'"),
        (put("options", {"dropout": True}), "sets 'dropout'"),
        (put("options", {"dropout": [0.1]}), "sets 'dropout'"),
        (put("options", {"width": 6.0}), "sets 'width'"),
        (put("options", {"width": True}), "sets 'width'"),
        (put("options", {"builder": "os.system"}), "sets 'builder'"),
        (put("preparation", "height", 10**6), "preparation of pixels"),
        (put("preparation", "channels", 10**6), "preparation of pixels"),
        (put("format", 2), "newer KOP"),
        (put("classes", ["a", "b", "c"]), "names the classes"),
        (put("checksums", {}), "checksum of model.keras"),
        (put("calibration", {"method": "temperature", "temperature": 0}), "calibration"),
        (put("title", "Knees\x1b[2J"), "no title"),
        (put("title", "Knees\nand more"), "no title"),
        (put("title", "Knees \u202egpj.exe"), "no title"),
        (put("title", "\ud800"), "no title"),
        (put("title", ""), "no title"),
        (put("title", "x" * 201), "no title"),
        (put("id", "\0"), "no id"),
        (put("version", "1\r2"), "no version"),
        (put("data", "files", "many"), "as in its item “8. Inclusion and exclusion criteria”"),
        (put("data", "classes", [1]), "cannot be shown"),
        (put("training", "config", "augmentation", 7), "cannot be shown"),
        (put("statements", ["\ud800"]), "cannot be shown"),
    ],
)  # fmt: skip
def test_a_card_that_says_what_is_not_so_is_refused(files, refused, change, says):
    assert says in refused(packed(with_card(files, change)))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b" " * 2**20 + b"{}"]
)
def test_a_card_that_is_none_is_refused(files, refused, content):
    assert "card" in refused(packed({**files, "run-1/card.json": content}))


@pytest.mark.parametrize("content", [b"epoch\nmany\n", b"loss\n1\n", b"\xff", b"epoch\n1,2\n"])
def test_a_history_that_is_none_is_refused(files, refused, content):
    harmed = with_card({**files, "run-1/history.csv": content})
    assert "no history of a training" in refused(packed(harmed))


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_weights_that_are_code_are_refused_and_not_run(files, refused, tmp_path_factory):
    marker = tmp_path_factory.mktemp("marks") / "executed"
    evil = pickle.dumps(Evil(marker))
    inner = unpacked(files["run-1/model.keras"])
    for harm in (
        evil,
        packed({**inner, "data.pkl": evil}),
        packed({**inner, "model.weights.h5": evil}),
        packed({**inner, "assets/x.py": b"import os"}),
        packed(inner, zipfile.ZIP_DEFLATED),
        packed({n: c for n, c in inner.items() if n != "model.weights.h5"}),
    ):
        harmed = with_card({**files, "run-1/model.keras": harm})
        said = refused(packed(harmed))
        assert "model.keras of the model brought is none that KOP writes" in said
        assert not marker.exists()
    pickle.loads(evil)
    assert marker.exists()  # it would have shown


def linked(root) -> None:
    root["x"] = h5py.ExternalLink("/etc/passwd", "/x")


def outside(root) -> None:
    root.create_dataset("x", (8,), "u1", external=[("/etc/passwd", 0, 8)])


def a_view(root) -> None:
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (8,))
    root.create_virtual_dataset("x", layout)


def squeezed(root) -> None:
    root.create_dataset("x", (2**24,), "f4", compression="gzip")[:] = 0


def never_written(root) -> None:
    root.create_dataset("x", (2**40,), "f4")


def a_word(root) -> None:
    root["x"] = "os.system"


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (linked, "links to other places"),
        (outside, "in other files"),
        (a_view, "in other files"),
        (squeezed, "compressed"),
        (never_written, "more than the file has"),
        (a_word, "other than numbers"),
    ],
)
def test_weights_that_lead_elsewhere_or_grow_are_refused(files, refused, harm, says):
    inner = unpacked(files["run-1/model.keras"])
    stream = io.BytesIO(inner["model.weights.h5"])
    with h5py.File(stream, "a") as root:
        harm(root)
    inner["model.weights.h5"] = stream.getvalue()
    assert says in refused(packed(with_card({**files, "run-1/model.keras": packed(inner)})))


def test_a_name_that_is_taken_or_none_is_refused(bundle, refused):
    assert "a model called mine already" in refused(bundle, "mine", RunError)
    for name in ("", ".", "..", "../up", "/tmp/x", "a/b", "A b", ".hidden", "x" * 65, "x\n", "é"):
        assert "cannot be a model's name" in refused(bundle, name, RunError)


def test_what_goes_wrong_on_this_machine_leaves_nothing(bundle, refused, models, monkeypatch):
    assert "cannot be opened" in refused(models.parent / "none.zip")
    assert "cannot be opened" in refused(models)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(bundles, "_copy", full)
        assert "No space left on device" in refused(bundle)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        assert "No space left on device" in refused(bundle)
    before = bundles._admit

    def slow(folder):
        before(folder)
        shutil.copytree(models / "mine", models / "brought")  # somebody else's came first

    monkeypatch.setattr(bundles, "_admit", slow)
    with pytest.raises(RunError, match="called brought already"):
        read_bundle(bundle, "brought", models)
    assert {p.name for p in models.iterdir()} == {"mine", "brought"}
    assert [p.name for p in (models / "brought").iterdir()] == ["card.json"]
    with pytest.raises(BundleError, match="cannot be written"):
        read_bundle(bundle, "x", models / "mine" / "card.json")


def test_a_card_of_long_words_is_refused_in_few(files, refused):
    for change in (put("network", "x" * 500_000), put("classes", ["x\n"] * 100_000)):
        refused(packed(with_card(files, change)))


def test_the_name_of_a_run_that_is_brought_does_not_decide_where_it_goes(files, models):
    files = with_card(files, put("id", "../../escaped"))
    model = read_bundle(packed(files), "brought", models)
    assert model.folder == models / "brought" and model.id == "brought"
    assert model.card["imported"]["id"] == "../../escaped"
    assert not list(models.parent.parent.glob("*escaped*"))
