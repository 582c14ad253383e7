import os
from pathlib import Path

import pytest

from kop_core.datasets.patients import summarise_patients
from kop_core.datasets.scanning import scan, scan_manifest
from kop_core.errors import DataSetError
from tests.conftest import make_data


def test_classes_digests_and_fingerprint(small_data):
    data = scan(small_data)
    assert data.counts() == {"healthy": 12, "osteopenia": 12, "osteoporosis": 12}
    assert [i.file for i in data.items] == sorted(i.file for i in data.items)
    assert data.fingerprint == scan(small_data).fingerprint
    assert data.notes == ()
    picture = data.path(data.items[0])
    picture.write_bytes(picture.read_bytes() + b" ")
    assert scan(small_data).fingerprint != data.fingerprint


def test_what_is_passed_over_is_named(small_data):
    (small_data / "Notes").mkdir()
    (small_data / "Normal" / "list.txt").write_text("x")
    (small_data / "Normal" / "empty.png").touch()
    (small_data / "Normal" / ".hidden.png").write_text("x")
    (small_data / "Normal" / "out.png").symlink_to("/etc/hostname")
    (small_data / "Normal" / "nowhere.png").symlink_to("/nowhere/at/all")
    os.mkfifo(small_data / "Normal" / "pipe.png")
    passed_over = dict(scan(small_data).passed_over)
    assert set(passed_over) == {
        "Notes", "Normal/list.txt", "Normal/empty.png", "Normal/out.png", "Normal/nowhere.png",
        "Normal/pipe.png",
    }  # fmt: skip
    assert "leads out" in passed_over["Normal/out.png"]
    assert "nowhere" in passed_over["Normal/nowhere.png"]
    assert "plain file" in passed_over["Normal/pipe.png"]


def test_a_name_that_is_no_text_is_passed_over(small_data):
    bad = os.fsencode(small_data / "Normal") + b"/caf\xe9.png"
    Path(os.fsdecode(bad)).write_bytes((small_data / "Normal" / "Normal 1.png").read_bytes())
    data = scan(small_data)
    assert len(data.items) == 36
    ((name, reason),) = data.passed_over
    assert name == "Normal/caf?.png" and "UTF-8" in reason
    assert data.fingerprint


def test_radiographs_are_read_where_they_are_known(small_data):
    file = scan(small_data).items[0].file
    (small_data / "radiographs.csv").write_text(f"file,radiograph\n{file},R7\n")
    assert [i.radiograph for i in scan(small_data).items[:2]] == ["R7", ""]
    (small_data / "radiographs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataSetError, match="columns"):
        scan(small_data)


def test_radiographs_named_on_windows_are_read(small_data):
    (small_data / "radiographs.csv").write_text("file,radiograph\nNormal\\Normal 0.png,R7\n")
    assert scan(small_data).items[0].radiograph == "R7"
    odd = small_data / "Normal" / "odd\\name.png"  # a name that is possible here
    odd.write_bytes((small_data / "Normal" / "Normal 0.png").read_bytes())
    (small_data / "radiographs.csv").write_text("file,radiograph\nNormal/odd\\name.png,R8\n")
    assert [i.radiograph for i in scan(small_data).items if "odd" in i.file] == ["R8"]


def test_a_file_is_named_one_radiograph_only(small_data):
    table = small_data / "radiographs.csv"
    rows = ["file,radiograph", "Normal/Normal 0.png,R7", "./Normal/Normal 0.png,R7"]
    table.write_text("\n".join([*rows, "Normal/Normal 0.png,"]))
    assert scan(small_data).items[0].radiograph == "R7"
    table.write_text("\n".join([*rows, "Normal/Normal 0.png,R8"]))
    with pytest.raises(DataSetError, match=r"two radiographs of Normal/Normal 0\.png: R7.*4 R8"):
        scan(small_data)


def test_files_that_tables_name_and_that_are_not_there_are_counted(small_data):
    for name in ("radiographs", "patients"):
        rows = f"file,{name[:-1]}\nNormal/Normal 0.png,A\nNormal 1.png,A\nNormal 2.png,B\n"
        (small_data / f"{name}.csv").write_text(rows)
    assert sorted(scan(small_data).notes) == [
        f"2 of the 3 files that {name}.csv names are not in this data set. Paths in it start at "
        "the folder in which it lies."
        for name in ("patients", "radiographs")
    ]
    path = manifest(small_data, "file,class,group\nNormal/Normal 0.png,normal,X\n")
    (note,) = (n for n in scan(path).notes if "start at" in n)  # only its own groups count
    assert "patients.csv" in note


@pytest.mark.parametrize("name", ["radiographs.csv", "patients.csv"])
def test_tables_that_are_links_out_of_the_folder_are_passed_over(small_data, tmp_path, name):
    (small_data / "radiographs.csv").unlink()
    (tmp_path / "other.csv").write_text("file,radiograph,age\nNormal/Normal 0.png,R7,40\n")
    (small_data / name).symlink_to(tmp_path / "other.csv")
    listed = manifest(small_data, "file,class\nNormal/Normal 0.png,normal\n")
    for source in (small_data, listed):
        data = scan(source)
        assert (name, "a link that leads out of the folder") in data.passed_over
        assert data.items[0].radiograph == "" and not data.patients
        data = scan(source, follow_links=True)
        assert data.items[0].radiograph == "R7" or data.patients
    (small_data / name).unlink()
    os.mkfifo(small_data / name)  # would be waited for
    for source in (small_data, listed):
        assert (name, "not a plain file") in scan(source).passed_over


def test_no_folder_and_no_classes(tmp_path):
    with pytest.raises(DataSetError, match="not a folder"):
        scan(tmp_path / "none")
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataSetError, match="cats"):
        scan(tmp_path)


def test_two_data_sets_under_one_folder(tmp_path):
    one, two = make_data(tmp_path / "a" / "one", 2), make_data(tmp_path / "two", 3)
    (two / "Osteoporosis" / "normal").mkdir()
    moved = two / "Osteoporosis" / "Osteoporosis 0.png"
    moved.rename(two / "Osteoporosis" / "normal" / "x.png")
    (one / "radiographs.csv").write_text("file,radiograph\nNormal/Normal 0.png,R1\n")
    (two / "radiographs.csv").write_text("file,radiograph\nNormal/Normal 1.png,R1\n")
    data = scan(tmp_path)
    assert data.counts() == {"healthy": 6, "osteopenia": 5, "osteoporosis": 4}
    by_file = {i.file: i for i in data.items}
    assert by_file["two/Osteoporosis/normal/x.png"].true == "healthy"  # the nearest decides
    assert by_file["a/one/Normal/Normal 0.png"].radiograph == "R1"
    assert by_file["two/Normal/Normal 1.png"].radiograph == "R1"
    assert data.passed_over == ()
    assert any("same radiograph" in note for note in data.notes)


def test_folders_of_no_class_are_named_once_and_loose_pictures_counted(small_data):
    deep = small_data / "other" / "0" / "1"
    deep.mkdir(parents=True)
    picture = (small_data / "Normal" / "Normal 0.png").read_bytes()
    (deep / "a.png").write_bytes(picture)
    for name in ("a.png", "b.png", "notes.md"):
        (small_data / name).write_bytes(picture)
    passed_over = scan(small_data).passed_over
    assert passed_over == (
        (".", "2 pictures are in no folder named after a class"),
        ("other", "the folder's name is none of the classes"),
    )


def test_any_class_keeps_the_names_of_folders(small_data):
    for name in ("oai/0", "oai/3", "oai/Osteopenia/left"):
        (small_data / name).mkdir(parents=True)
        picture = (small_data / "Normal" / "Normal 0.png").read_bytes()
        (small_data / name / "k.png").write_bytes(picture)
    (small_data / "loose.png").write_bytes(picture)
    (small_data / "oai" / "0" / "list.txt").write_text("x")
    data = scan(small_data, any_class=True)
    assert data.counts() == {
        "healthy": 12, "osteopenia": 13, "osteoporosis": 12, "": 1, "0": 1, "3": 1,
    }  # fmt: skip
    assert data.passed_over == (("oai/0/list.txt", "not a kind of file that KOP reads"),)
    assert len(scan(small_data).items) == 37


def test_links_are_followed_only_when_asked(small_data, tmp_path):
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "one").symlink_to(small_data)
    (tmp_path / "both" / "round").symlink_to(tmp_path / "both")
    with pytest.raises(DataSetError, match="no pictures"):
        scan(tmp_path / "both")
    data = scan(tmp_path / "both", follow_links=True)
    assert len(data.items) == 36 and data.items[0].file.startswith("one/Normal/")
    assert data.passed_over == (("round", "a link to a folder that is read already"),)
    (small_data / "again").symlink_to(small_data)
    assert len(scan(tmp_path / "both", follow_links=True).items) == 36


def test_a_linked_folder_is_named_once(small_data, tmp_path):
    (small_data / "more").symlink_to(make_data(tmp_path / "elsewhere", 2))
    data = scan(small_data)
    assert len(data.items) == 36
    assert data.passed_over == (("more", "a link that leads out of the folder"),)
    assert len(scan(small_data, follow_links=True).items) == 42


def test_a_file_behind_a_link_is_read_when_asked(small_data, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes((small_data / "Normal" / "Normal 0.png").read_bytes())
    (small_data / "Normal" / "zz.png").symlink_to(outside)
    assert len(scan(small_data).items) == 36
    assert len(scan(small_data, follow_links=True).items) == 37


def test_a_file_that_cannot_be_opened_is_named(small_data, monkeypatch):
    opened = Path.open

    def refuse(path, *args, **kwargs):
        if path.name == "Normal 3.png":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    data = scan(small_data)
    assert len(data.items) == 35
    assert data.passed_over == (("Normal/Normal 3.png", "cannot be opened (Permission denied)"),)


def test_too_many_files_are_no_data_set(small_data, monkeypatch):
    monkeypatch.setattr("kop_core.datasets.scanning.MAX_FILES", 20)
    with pytest.raises(DataSetError, match="more than 20 files"):
        scan(small_data)


def test_folders_that_lie_too_deep_are_named(small_data, monkeypatch):
    deep = small_data.joinpath(*"abcdef")
    deep.mkdir(parents=True)
    monkeypatch.setattr("kop_core.datasets.scanning.MAX_DEPTH", 4)
    assert ("a/b/c/d/e", "the folder lies too deep") in scan(small_data).passed_over


def test_small_classes_are_said_and_allowed(tmp_path):
    folder = make_data(tmp_path / "data", 1)
    for path in (folder / "Osteopenia").iterdir():
        path.unlink()
    data = scan(folder)
    assert data.counts()["osteopenia"] == 0
    assert ("Osteopenia", "the folder is empty") in data.passed_over
    assert "There is no file of the class osteopenia." in data.notes
    assert sum("one file only" in note for note in data.notes) == 2
    for path in (folder / "Osteoporosis").iterdir():
        path.unlink()
    (note,) = scan(folder).notes
    assert "All files are of one class (healthy)" in note


# Manifests.


def manifest(folder: Path, text: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_a_manifest_gives_classes_patients_and_radiographs(small_data):
    path = manifest(
        small_data,
        "Patient ID;Label;File Name;Group\n"
        "P1;Osteopenia;Normal/Normal 0.png;A\n"
        "P1;normal;./Normal/Normal 1.png;\n"
        "\n"
        "P2;osteoporotic;Osteoporosis\\Osteoporosis 2.png;B\n",
        encoding="utf-8-sig",
    )
    steps = []
    data = scan(path, lambda *s: steps.append(s))
    assert [(i.file, i.true, i.patient, i.radiograph) for i in data.items] == [
        ("Normal/Normal 0.png", "osteopenia", "P1", "A"),
        ("Normal/Normal 1.png", "healthy", "P1", ""),
        ("Osteoporosis/Osteoporosis 2.png", "osteoporosis", "P2", "B"),
    ]
    assert data.folder == small_data and data.source == path and steps[-1] == (3, 3)
    assert data.items[0].sha256 == scan(small_data).items[0].sha256
    assert scan(data.source) == data and scan_manifest(path) == data


def test_rows_at_fault_are_named_and_the_rest_is_done(small_data, tmp_path):
    (tmp_path / "out.png").write_bytes((small_data / "Normal" / "Normal 0.png").read_bytes())
    (small_data / "Normal" / "link.png").symlink_to(tmp_path / "out.png")
    (small_data / "Normal" / "empty.png").touch()
    path = manifest(
        small_data,
        "file,class\n"
        "Normal/Normal 0.png,normal\n"  # 2
        "Normal/Normal 0.png,healthy\n"  # the same class
        "Normal/Normal 1.png,normal\n"
        "./Normal//Normal 1.png,osteopenia\n"  # 5: another class
        "Normal/Normal 1.png,normal\n"
        "Normal/Normal 2.png,cat\n"
        "Normal/none.png,normal\n"  # 8
        ",normal\n"
        "Normal/Normal 3.png\n"
        "../out.png,normal\n"  # 11
        "/etc/hostname,normal\n"
        "C:\\x.png,normal\n"
        "Normal/link.png,normal\n"  # 14
        "Normal/empty.png,normal\n"
        "list.csv,normal\n"
        "Normal,normal\n"  # 17
        '"Normal/Normal 4.png",osteoporosis,extra,cells\n',
    )
    data = scan(path)
    assert [(i.file, i.true) for i in data.items] == [
        ("Normal/Normal 0.png", "healthy"),
        ("Normal/Normal 4.png", "osteoporosis"),
    ]
    said = {int(name.split(":")[0].removeprefix("row ")): why for name, why in data.passed_over}
    expected = {
        3: "kept once", 5: "label conflict", 6: "left out", 7: "'cat' is none of",
        8: "no such file", 9: "no file is named", 10: "no class is named", 11: "leads out",
        12: "leads out", 13: "leads out", 14: "link that leads out", 15: "empty",
        16: "not a kind of file", 17: "not a kind of file",
    }  # fmt: skip
    assert set(said) == set(expected)
    for row, words in expected.items():
        assert words in said[row], (row, said[row])
    assert "healthy and as osteopenia" in said[5]
    assert "1 file is listed under two classes in list.csv and left out." in data.notes
    assert len(scan(path, follow_links=True).items) == 3


def test_a_cell_that_can_be_no_name_is_a_fault_of_its_row(small_data):
    cell, several = "x" * 5000 + ".png", '"Normal/\n\n none.png"'
    path = manifest(
        small_data,
        f"file,class\n{cell},normal\nNormal/Normal 0.png,normal\n{several},normal\n"
        f"Normal/Normal 1.png,{cell}\n",
    )
    data = scan(path)
    assert [i.file for i in data.items] == ["Normal/Normal 0.png"]
    long, lines, label = data.passed_over
    assert long == ("row 2: " + "x" * 100 + "…", "cannot be opened (File name too long)")
    assert lines == ("row 4: Normal/ none.png", "there is no such file")
    assert label[0] == "row 5: Normal/Normal 1.png" and len(label[1]) < 200


def test_a_folder_that_may_not_be_entered_is_a_fault_of_its_rows(small_data, monkeypatch):
    exists = Path.exists

    def refuse(path, *args, **kwargs):
        if path.parent.name == "Osteopenia":
            raise PermissionError(13, "Permission denied")
        return exists(path, *args, **kwargs)

    monkeypatch.setattr(Path, "exists", refuse)
    rows = "Osteopenia/Osteopenia 0.png,osteopenia\nNormal/Normal 0.png,normal\n"
    data = scan(manifest(small_data, f"file,class\n{rows}"))
    assert [i.file for i in data.items] == ["Normal/Normal 0.png"]
    assert data.passed_over == (
        ("row 2: Osteopenia/Osteopenia 0.png", "cannot be opened (Permission denied)"),
    )


def test_a_manifest_may_keep_other_classes(small_data):
    path = manifest(small_data, "file,class\nNormal/Normal 0.png,KL 2\nNormal/Normal 1.png,normal")
    assert scan(path, any_class=True).counts() == {
        "healthy": 1, "osteopenia": 0, "osteoporosis": 0, "KL 2": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no column of files"),
        (b"file,class\n", "no file that can be used"),
        (b"file,class\nnone.png,normal\n", "row 2: none.png: there is no such file"),
        (b"a,b\n1,2\n", "Columns there: a, b"),
        (b"file,weight\nx.png,2\n", "no column of classes"),
        ("file,class\nNormal/é.png,normal\n".encode("latin-1"), "UTF-8"),
        ("file,class\n".encode("utf-16"), "UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "UTF-8"),
        (b'file,class\n"' + b"x" * 200_000, "cannot be read as a table|no file"),
    ],
    ids=["empty", "no rows", "no file", "columns", "no class", "latin", "utf-16", "png", "quote"],
)
def test_manifests_that_cannot_be_used(small_data, data, words):
    path = small_data / "list.csv"
    path.write_bytes(data)
    with pytest.raises(DataSetError, match=words):
        scan(path)


def test_no_manifest_and_too_large_ones(small_data, monkeypatch):
    with pytest.raises(DataSetError, match="not a file"):
        scan(small_data / "none.csv")
    path = manifest(small_data, "file,class\n" + "Normal/Normal 0.png,normal\n" * 9)
    monkeypatch.setattr("kop_core.datasets.tables.MAX_ROWS", 8)
    with pytest.raises(DataSetError, match="more than 8 rows"):
        scan(path)
    monkeypatch.setattr("kop_core.datasets.tables.MAX_BYTES", 10)
    with pytest.raises(DataSetError, match="larger than"):
        scan(path)


def test_a_manifest_without_radiographs_takes_those_beside(small_data):
    manifest(small_data, "file,radiograph\nNormal/Normal 0.png,R7\n", "radiographs.csv")
    path = manifest(small_data, "file,class\nNormal/Normal 0.png,normal\n")
    assert scan(path).items[0].radiograph == "R7"
    path = manifest(small_data, "file,class,group\nNormal/Normal 0.png,normal,X\n")
    assert scan(path).items[0].radiograph == "X"


# Patients.

PATIENTS = (
    "file,class,Patient_Id,age,sex,Patient name,note,one\n"
    "Normal/Normal 0.png,normal,P1,30,female,Ann,a1,7\n"
    "Normal/Normal 1.png,normal,P1,30,female,Ann,a2,7\n"
    "Normal/Normal 2.png,normal,P2,40,male,Bob,a3,7\n"
    "Osteopenia/Osteopenia 0.png,osteopenia,P3,\"61,5\",female,Cy,a4,7\n"
    "Osteopenia/Osteopenia 1.png,osteopenia,P4,n/a,,Di,a5,7\n"
    "gone.png,osteopenia,P5,99,male,Ed,a6,7\n"
)  # fmt: skip


def test_patients_are_read_and_summarised_each_once(small_data):
    (small_data / "patients.csv").write_text(PATIENTS)
    data = scan(small_data)
    assert [i.patient for i in data.items if i.patient] == ["P1", "P1", "P2", "P3", "P4"]
    assert data.patients["Normal/Normal 2.png"]["age"] == "40"
    assert "gone.png" not in data.patients
    found = summarise_patients(data)
    assert found["counted"] == "patients" and found["known"] == 4
    assert set(found["variables"]) == {"age", "sex", "note", "one"}  # no names
    assert found["variables"]["age"]["by_class"]["healthy"] == {
        "n": 2, "missing": 0, "min": 30, "low_quartile": 32.5, "median": 35,
        "high_quartile": 37.5, "max": 40,
    }  # fmt: skip
    assert found["variables"]["age"]["by_class"]["osteopenia"]["median"] == 61.5
    assert found["variables"]["age"]["by_class"]["osteopenia"]["missing"] == 1
    assert found["variables"]["sex"] == {
        "kind": "category",
        "by_class": {
            "healthy": {"n": 2, "missing": 0, "counts": {"female": 1, "male": 1}},
            "osteopenia": {"n": 1, "missing": 1, "counts": {"female": 1}},
        },
    }
    assert found["variables"]["one"]["kind"] == "category"


def test_many_different_words_are_counted_and_not_shown(small_data):
    rows = [f"Normal/Normal {i}.png,text {i}" for i in range(12)]
    rows += [f"Osteopenia/Osteopenia {i}.png,more {i}" for i in range(3)]
    (small_data / "patients.csv").write_text("file,history\n" + "\n".join(rows))
    found = summarise_patients(scan(small_data))
    assert found["counted"] == "files"
    assert found["variables"] == {"history": {"kind": "text", "distinct": 15}}


def test_what_may_say_who_a_patient_is_has_no_place_in_a_report(small_data):
    naming = (
        "dob", "patient_dob", "DateOfBirth", "born", "MRN", "patientMRN", "ssn", "NHS number",
        "Initials", "study_id", "StudyID", "zip", "ZIP code", "postcode", "post code",
        "AccessionNumber", "record no", "hospital_number",
    )  # fmt: skip
    kept = ("age", "hospital_stay", "hypothyroid", "idiopathic", "recorded_falls", "zipped", "side")
    columns = (*naming, *kept)
    rows = [
        f"Normal/Normal {i}.png," + ",".join("ab"[i % 2] for _ in columns) for i in range(6)
    ]  # fmt: skip
    table = small_data / "patients.csv"
    table.write_text("\n".join([f"file,{','.join(columns)}", *rows]))
    assert tuple(summarise_patients(scan(small_data))["variables"]) == kept


def test_words_of_which_everybody_has_others_are_not_shown(small_data):
    rows = [f"Normal/Normal {i}.png,word{i},{i},{'ab'[i % 2]}" for i in range(5)]
    (small_data / "patients.csv").write_text("\n".join(["file,seen_by,visits,side", *rows]))
    variables = summarise_patients(scan(small_data))["variables"]
    assert variables["seen_by"] == {"kind": "text", "distinct": 5}
    assert [variables[name]["kind"] for name in ("visits", "side")] == ["number", "category"]


def test_patients_that_cannot_be_read_are_named(small_data):
    (small_data / "patients.csv").write_bytes(b"file,age\nx,\xff")
    data = scan(small_data)
    ((name, reason),) = data.passed_over
    assert name == "patients.csv" and "UTF-8" in reason
    assert len(data.items) == 36 and summarise_patients(data) == {}


# The real ones.


def test_the_real_collection(shared):
    data = scan(shared / "paper1947")
    assert data.counts() == {"healthy": 646, "osteopenia": 125, "osteoporosis": 644}
    assert len({i.radiograph for i in data.items}) == 175
    assert all(i.radiograph for i in data.items)


def test_the_hospitals_collection_with_its_patients(shared):
    data = scan(shared / "mendeley")
    assert len(data.items) == 195 == len(data.patients)
    variables = summarise_patients(data)["variables"]
    ages = {n: v["median"] for n, v in variables["age"]["by_class"].items()}
    assert ages["healthy"] < ages["osteopenia"] < ages["osteoporosis"]
    assert variables["sex"]["by_class"]["osteoporosis"]["n"] > 0
    assert variables["history_of_fracture"]["kind"] == "text"
