"""The commands as a person types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kop_core import cli, model_store
from kop_core.commands import console
from kop_core.training import Progress
from tests.radiographs.test_dicom import as_bytes, dataset
from tests.radiographs.test_reading import JPEG, png_declaring, zipped

ROOT = Path(__file__).resolve().parent.parent


def kop(*arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "kop_core", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_the_help_of_every_command_is_written_as_it_is_read():
    parser = cli._parser()
    (commands,) = (a.choices for a in parser._actions if isinstance(a.choices, dict))
    assert len(commands) > 15
    said = {name: "".join(c.format_help().split()) for name, c in commands.items()}
    assert not [name for name, text in said.items() if "%%" in text]
    assert "with95%intervals" in said["evaluate"] and "with95%intervals" in said["compare"]
    assert "(default:theonethat`models--make-default`names)" in said["classify"]


def test_networks(capsys, monkeypatch):
    from kop_core.networks import registry

    # All of them are counted in tests/networks; two show what the command says.
    two = {name: registry._NETWORKS[name] for name in ("paper", "alexnet")}
    monkeypatch.setattr(registry, "_NETWORKS", two)
    assert cli.main(["networks", "--json"]) == 0
    paper, alexnet = json.loads(capsys.readouterr().out)
    assert paper["parameters"] == paper["reference_parameters"] == 15_610_499
    assert paper["here"] == {
        "parameters": 15_610_499,
        "trainable": 15_604_099,
        "non_trainable": 6_400,
    }
    assert paper["input"] == [224, 224, 3] and paper["reference_classes"] == 3
    assert alexnet["parameters"] == alexnet["reference_parameters"] == 61_100_840
    assert alexnet["equal"] and "torchvision" in alexnet["reference"]
    assert alexnet["here"]["parameters"] < 3e6 and alexnet["options"]["head"] == "pooled"
    assert cli.main(["networks"]) == 0
    said = capsys.readouterr().out
    assert "15,610,499" in said and "61,100,840" in said


def test_layers_to_learn_from_are_listed(capsys):
    assert cli.main(["networks", "--layers", "paper", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [layer["name"] for layer in listed][:3] == ["conv1", "norm1", "conv2"]
    assert sum(layer["parameters"] for layer in listed) == 15_610_499
    assert cli.main(["networks", "--layers", "paper"]) == 0
    assert "conv9" in capsys.readouterr().out
    assert cli.main(["networks", "--layers", "papre"]) == 1


def test_models(capsys, shipped):
    assert cli.main(["models", "--json", "--models", str(shipped.folder.parent)]) == 0
    (first,) = (m for m in json.loads(capsys.readouterr().out) if m["id"] == shipped.id)
    assert first["network"] == "paper"
    assert first["classes"] == ["healthy", "osteopenia", "osteoporosis"]
    assert first["split"]["protocol"] == "random"
    assert first["metrics"]["accuracy"].keys() == {"value", "low", "high"}
    assert cli.main(["models", "--models", str(shipped.folder.parent)]) == 0
    said = capsys.readouterr().out
    assert "95 % CI" in said and "copies in training" in said


def test_a_default_is_chosen(models, shipped, capsys):
    model_store.publish(shipped.folder, "second", models)
    assert cli.main(["models", "--make-default", "second", "--models", str(models)]) == 0
    first, other = (x for x in capsys.readouterr().out.splitlines() if not x.startswith(" "))
    assert first.startswith("second (") and first.endswith("[default]")
    assert other.startswith(f"{shipped.id} (") and not other.endswith("[default]")
    assert cli.main(["models", "--make-default", "third", "--models", str(models)]) == 1
    assert "There is no model called 'third'" in capsys.readouterr().err
    (models / "second" / "history.csv").unlink()
    assert cli.main(["models", "--models", str(models)]) == 1
    said = capsys.readouterr()
    assert shipped.id in said.out and "[default]" not in said.out and "second" in said.err


def test_a_broken_model_is_one_sentence(models, shipped, capsys, full_size):
    with (models / shipped.id / "model.keras").open("ab") as stream:
        stream.write(b"1")
    done = kop("classify", full_size[0], "--models", models)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "was altered" in done.stderr
    (models / shipped.id / "history.csv").unlink()
    assert cli.main(["models", "--json", "--models", str(models)]) == 1
    assert "history.csv" in json.loads(capsys.readouterr().out)[0]["error"]


def bad_files(folder: Path) -> dict[Path, str]:
    found = {
        "notes.png": (b"Dear colleague", "not_an_image"),
        "cut.jpg": (JPEG[:3000], "truncated"),
        "dot.png": (b"", "empty"),
        "huge.png": (png_declaring(30000, 30000), "too_large"),
        "scans.zip": (zipped(), "not_an_image"),
        "ct.dcm": (as_bytes(dataset(Modality="CT", BodyPartExamined="CHEST")), "wrong_modality"),
    }
    for name, (data, _) in found.items():
        (folder / name).write_bytes(data)
    return {folder / name: code for name, (_, code) in found.items()}


def test_classify_every_real_file_among_broken_ones(full_size, shared, tmp_path):
    default = model_store.get(folder=ROOT / "models").id
    bad = bad_files(tmp_path)
    gone = tmp_path / "gone.png"
    knees = [*full_size, *sorted((shared / "dicom").glob("knee*"))]
    files = [knees[0], *bad, *knees[1:], gone]
    done = kop("classify", *files, "--json", "--overlay", tmp_path / "overlays")
    assert done.returncode == 2, done.stderr
    assert done.stderr == ""
    records = json.loads(done.stdout)
    assert [r["file"] for r in records] == [str(f) for f in files]
    for record in records:
        path = Path(record["file"])
        if path in knees:
            assert "error" not in record
            p = record["probabilities"]
            assert list(p) == ["healthy", "osteopenia", "osteoporosis"]
            assert sum(p.values()) == pytest.approx(1, abs=1e-6)
            assert record["class"] == max(p, key=p.get)
            assert record["model"] == default
            assert (record["overlay"] is not None) == record["evidence"]
            if record["overlay"]:
                assert Path(record["overlay"]).read_bytes().startswith(b"\x89PNG")
        else:
            assert record["code"] == bad.get(path, "missing")
            assert record["error"].endswith(".") and "class" not in record
    drawn = [r["overlay"] for r in records if r.get("overlay")]
    assert len(drawn) >= 6
    assert sorted(map(str, (tmp_path / "overlays").iterdir())) == sorted(drawn)


def test_only_broken_files_need_no_tensorflow_and_no_time(tmp_path):
    bad = bad_files(tmp_path)
    done = kop("classify", *bad)
    assert done.returncode == 2
    assert done.stdout.count("\n") == len(bad)
    assert "this is a zip archive" in done.stdout and "Traceback" not in done.stderr


def test_two_files_of_one_name_get_two_overlays(full_size, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(full_size[0], tmp_path / folder / "knee.jpg")
    done = kop(
        "classify", tmp_path / "a/knee.jpg", tmp_path / "b/knee.jpg", "--json",
        "--overlay", tmp_path / "out", "--method", "layercam", "--class", "healthy",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["knee_healthy_layercam.png", "knee_healthy_layercam_2.png"]


def test_one_failure_of_any_kind_leaves_the_others(full_size, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    real = Path.write_bytes

    def write(self, data):
        if self.name.startswith(full_size[1].stem):
            raise OSError(28, "No space left on device")
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write)
    files = [str(p) for p in full_size[:3]]
    # LayerCAM finds something in every picture.
    asked = ["classify", *files, "--json", "--overlay", str(out), "--method", "layercam"]
    assert cli.main(asked) == 2
    records = json.loads(capsys.readouterr().out)
    assert ["error" in r for r in records] == [False, True, False]
    assert "No space left" in records[1]["error"]
    assert len(list(out.iterdir())) == 2


def test_no_evidence_is_said_and_no_overlay_written(full_size, tmp_path, monkeypatch, capsys):
    from kop_core.explanation import Explainer

    real = Explainer._influence
    monkeypatch.setattr(
        Explainer,
        "_influence",
        lambda self, method, name, raw: real(self, method, name, 0 * raw),
    )
    assert cli.main(["classify", str(full_size[0]), "--overlay", str(tmp_path / "o")]) == 0
    assert "No overlay: nothing in the picture speaks for" in capsys.readouterr().out
    assert not list((tmp_path / "o").iterdir())


def test_places_that_cannot_be_written_are_one_sentence(small_data, small_network, capsys):
    command = ["train", "--data", str(small_data), "--network", "small", "--out", "/dev/null/run"]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert "Not a directory" in said and "Traceback" not in said


def test_unknown_models_networks_and_folders(capsys, full_size, tmp_path):
    assert cli.main(["classify", str(full_size[0]), "--model", "nobody"]) == 1
    assert "no model called 'nobody'" in capsys.readouterr().err
    assert cli.main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "r")]) == 1
    assert "holds no pictures" in capsys.readouterr().err
    assert cli.main(["train", "--data", str(tmp_path)]) == 1
    assert "--out RUN" in capsys.readouterr().err
    command = ["train", "--network", "papre", "--data", str(tmp_path), "--out", str(tmp_path / "r")]
    assert cli.main(command) == 1
    assert "Known: paper" in capsys.readouterr().err
    assert cli.main([*command[:1], *command[3:], "--epochs", "0"]) == 1
    assert "at least 1" in capsys.readouterr().err


def test_train_resume_and_publish(small_data, small_network, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    start = ["train", "--data", str(small_data), "--network", "small", "--epochs", "2",
             "--seed", "4", "--out", str(run)]  # fmt: skip
    assert cli.main(start) == 0
    shown = capsys.readouterr()
    assert "The split was by radiograph" in shown.out
    assert "epoch 1/2" in shown.err and " left" in shown.err
    assert cli.main(start) == 1
    assert "exists already" in capsys.readouterr().err
    assert cli.main([*start, "--resume", str(run)]) == 0
    assert cli.main(["train", "--resume", str(run)]) == 0
    capsys.readouterr()
    assert cli.main(["train", "--resume", str(run), "--seed", "5"]) == 1
    assert "started with seed 4" in capsys.readouterr().err
    models = tmp_path / "models"
    assert cli.main(["publish", str(run), "--name", "mine", "--models", str(models)]) == 0
    capsys.readouterr()
    assert cli.main(["models", "--json", "--models", str(models)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "mine"


def test_the_papers_network_trains_on_real_radiographs(shared, tmp_path):
    data = tmp_path / "data"
    for folder in ("Normal", "Osteopenia", "Osteoporosis"):
        (data / folder).mkdir(parents=True)
        for path in sorted((shared / "paper1947" / folder).iterdir())[:7]:
            shutil.copy(path, data / folder)
    with (shared / "paper1947" / "radiographs.csv").open() as stream:
        header, *rows = stream
    known = [row for row in rows if (data / row.split(",")[0]).is_file()]
    (data / "radiographs.csv").write_text("".join([header, *known]))
    run = tmp_path / "run"
    done = kop("train", "--data", data, "--network", "paper", "--epochs", 1, "--seed", 1,
               "--batch", 8, "--out", run)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stderr
    assert {p.name for p in run.iterdir()} >= {
        "run.json", "split.csv", "history.csv", "checkpoint.npz",
        "model.keras", "card.json", "predictions.csv",
    }  # fmt: skip
    assert (run / "model.keras").stat().st_size <= 32e6
    header = (run / "predictions.csv").read_text().splitlines()[0]
    assert header == "file,radiograph,true,p_healthy,p_osteopenia,p_osteoporosis"


def test_progress_line():
    line = console.progress_line(
        Progress("training", 12, 71, 3, 30, 4080.0, {"loss": 0.5, "accuracy": 0.75})
    )
    assert line == "epoch 3/30  step 12/71  loss 0.500  accuracy 0.750  1 h 08 min left"
    assert console.progress_line(Progress("reading", 3, 9, 1, 2, None, {})) == (
        "reading radiographs 3/9"
    )
