"""The Data page by Streamlit's own test driver, and the audits behind it."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from types import MethodType

import pytest
from streamlit.testing.v1 import AppTest

import kop_core.datasets.audit
from dashboard import data as audits
from kop_core.errors import DataSetError
from tests.conftest import make_data
from tests.datasets.reports import report_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path) -> Path:
    """A folder of its own for what is unpacked, and for what is kept."""
    monkeypatch.setenv("KOP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def by_hand(monkeypatch):
    """Audits that find what the reports made by hand hold, at once."""

    def audit(data, progress=None, **_):
        if progress:
            progress("comparing", 1, 1, None)
        return report_of(data)[0]

    monkeypatch.setattr(kop_core.datasets.audit, "audit", audit)


@pytest.fixture
def folder(tmp_path) -> Path:
    made = make_data(tmp_path / "my [knees]", 6)
    (made / "patients.csv").write_text(
        "file,age,sex\n"
        + "".join(f"{c}/{c} {i}.png,{40 + 3 * i},female\n" for c in ("Normal", "Osteopenia")
                  for i in range(6))
    )  # fmt: skip
    (made / "Normal" / "list.txt").write_text("x")
    return made


@pytest.fixture
def page(by_hand) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return at.switch_page("pages/data.py").run()


def words(at: AppTest) -> str:
    kinds = ("title", "markdown", "caption", "warning", "info", "error", "html")
    text = "\n".join(str(e.value) for kind in kinds for e in at.get(kind))
    return text.replace("\\", "").replace("\u00a0", " ").replace("\u2060", "")


def button(at: AppTest, label: str):
    return next(b for b in at.button if b.label == label)


def audited(at: AppTest, path: str | Path) -> AppTest:
    at.text_input(key="data_path").set_value(str(path))
    button(at, "Audit the folder").click()
    return settled(at.run())


def settled(at: AppTest) -> AppTest:
    for _ in range(200):
        if "data_job" not in at.session_state:
            return at  # it never began, and the page says why
        if not at.session_state["data_job"].running:
            return at.run()
        time.sleep(0.05)
    raise AssertionError("the audit did not end")


def test_it_begins_with_what_to_do(page):
    assert not page.exception
    said = words(page)
    assert "How many radiographs are there really?" in said and "same radiograph" in said
    assert "Osteoporosis/" in page.get("code")[0].value
    button(page, "Audit the folder").click().run()
    assert "Type the path of a folder first." in words(page)


def test_the_answer_comes_first(page, folder):
    at = audited(page, f" '{folder}' ")
    assert not at.exception
    said = words(at)
    assert "Data audit: my [knees]" in said
    assert '<p class="kop-answer">10 radiographs in 18 files.</p>' in said
    assert "12 of 18 files show a radiograph" in said
    assert "1 radiograph is filed under more than one class" in said
    assert "95 % of the test files" in said
    assert [e.label for e in at.expander][-2:] == [
        "1 file could not be read and was left out.", "1 entry passed over.",
    ]  # fmt: skip
    assert at.query_params["view"] in ("overview", ["overview"])
    assert len(at.get("plotly_chart")) == 3


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        ("copies", "Identical files have the same bytes."),
        ("conflicts", "no classifier can be right on all of them"),
        (
            "shortcuts",
            "The most similar picture. Right on 94 % (95 % CI 91–96) of the files by random split",
        ),
        ("files", "contrast is the standard deviation"),
        ("patients", "Known of 12 files."),
    ],
)
def test_every_view(page, folder, view, expected):
    at = audited(page, folder)
    at.segmented_control(key="data_view").set_value(view).run()
    assert not at.exception
    assert expected in words(at)
    assert at.query_params["view"] in (view, [view])


def test_groups_are_filtered_opened_and_left(page, folder):
    at = audited(page, folder)
    at.segmented_control(key="data_view").set_value("copies").run()
    assert sum("files show it" in m.value for m in at.markdown) == 4
    at.selectbox(key="data_class").set_value("osteopenia").run()
    assert sum("files show it" in m.value for m in at.markdown) == 2
    at.button(key="data_open_copies_G0001").click().run()
    assert at.query_params["group"] in ("G0001", ["G0001"])
    shown = words(at)
    assert shown.count("<img ") == 6 and 'alt="Radiograph Normal/Normal 0.png"' in shown
    button(at, "Next").click().run()
    assert at.query_params["group"] in ("G-healthy", ["G-healthy"])
    button(at, "Back to all").click().run()
    assert "group" not in at.query_params
    assert at.segmented_control(key="data_view").value == "copies"


def test_an_address_opens_the_same_view_in_another_session(page, folder):
    at = audited(page, folder)
    key = at.session_state["data_job"].key
    other = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    other.query_params["audit"] = key
    other.query_params["group"] = "G0001"
    other.run()
    other.switch_page("pages/data.py").run()
    assert not other.exception
    assert "6 files show it" in words(other)


def test_addresses_of_nothing(page, folder):
    page.query_params["audit"] = "0" * 18
    said = words(page.run())
    assert "no longer keeps the audit" in said and "How many radiographs" in said
    at = audited(page, folder)
    at.query_params["group"] = "![x](http://evil.example/p.png)"
    at.run()
    (warning,) = [w.value for w in at.warning if "No radiograph with copies" in w.value]
    assert "![x](" not in warning
    assert "10 radiographs in 18 files" in words(at)


def test_names_of_files_do_no_harm(page, folder):
    bad = "<img src=x onerror=alert(1)>.png"
    (folder / "Normal" / "Normal 0.png").rename(folder / "Normal" / bad)
    at = audited(page, folder)
    at.segmented_control(key="data_view").set_value("conflicts").run()
    said = words(at)
    assert "<img src=x" not in said and "&lt;img src=x onerror=alert(1)&gt;.png" in said


def test_recent_folders_are_offered_again(page, folder):
    at = audited(page, folder)
    button(at, "Audit another").click().run()
    assert "How many radiographs" in words(at) and "audit" not in at.query_params
    at.button(key="data_recent_0").click().run()
    assert "10 radiographs in 18 files" in words(settled(at))


def test_what_cannot_be_audited_is_said(page, tmp_path):
    at = audited(page, tmp_path / "no [such] folder")
    assert "There is no folder or table" in words(at)
    (tmp_path / "empty").mkdir()
    at = audited(page, tmp_path / "empty")
    said = words(at)
    assert "holds no pictures in folders named after the classes" in said
    assert "Folder of class folders" in at.text_input(key="data_path").label  # try again at once
    assert not at.exception


def test_one_class_and_other_classes_are_audited_with_a_note(page, folder):
    for name in ("Osteopenia", "Osteoporosis"):
        (folder / name).rename(folder / f"KL {len(name)}")
    at = audited(page, folder)
    assert "All files are of one class (healthy)" in words(at)
    assert any("split" in c.value or "other classes" in c.value for c in at.caption)
    button(at, "Audit another").click().run()
    at.toggle(key="data_any_class").set_value(True)
    at = audited(at, folder)
    assert "10 radiographs in 18 files" in words(at)
    assert "A split is made for the classes healthy, osteopenia, osteoporosis only" in words(at)


def packed(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder.parent))
        archive.writestr("../climbs.png", "x")
    return stream.getvalue()


def test_an_archive_is_audited_and_removed(page, folder, temporary):
    page.get("file_uploader")[0].set_value(("my knees.zip", packed(folder), "application/zip"))
    page.run()
    button(page, "Audit the archive").click()
    at = settled(page.run())
    assert not at.exception
    said = words(at)
    assert "Data audit: my knees" in said and "10 radiographs in 18 files" in said
    assert "2 members of the archive not unpacked." in [e.label for e in at.expander]
    key = at.session_state["data_job"].key
    (unpacked,) = temporary.iterdir()
    assert list(unpacked.rglob("*.png")) and audits.find(key) is not None
    # The next audit takes its place; what was unpacked goes with it.
    button(at, "Audit another").click().run()
    del at.session_state["data_zip"]
    at = audited(at, folder)
    gc.collect()
    assert not unpacked.exists() and audits.find(key) is None


def test_an_archive_is_removed_although_its_progress_was_shown(
    page, folder, temporary, monkeypatch
):
    shown = threading.Event()

    def slow(data, progress=None, **_):
        assert shown.wait(30)
        return report_of(data)[0]

    monkeypatch.setattr(kop_core.datasets.audit, "audit", slow)
    page.get("file_uploader")[0].set_value(("my knees.zip", packed(folder), "application/zip"))
    page.run()
    button(page, "Audit the archive").click()
    at = page.run()
    assert "Stop" in [b.label for b in at.button]
    job = at.session_state["data_job"]
    # Streamlit keeps what a button calls, at times as long as the session.
    assert not [m for m in gc.get_objects() if isinstance(m, MethodType) and m.__self__ is job
                and m.__name__ == "cancel"]  # fmt: skip
    del job
    shown.set()
    at = settled(at)
    (unpacked,) = temporary.iterdir()
    button(at, "Audit another").click().run()
    del at.session_state["data_zip"]
    audited(at, folder)
    gc.collect()
    assert not unpacked.exists()


def test_archives_that_are_none(page):
    for name, data in (("a.zip", b"nonsense"), ("b.zip", b"")):
        page.get("file_uploader")[0].set_value((name, data, "application/zip"))
        page.run()
        button(page, "Audit the archive").click()
        at = settled(page.run())
        assert "no zip archive" in words(at) and not at.exception


# The audits behind the page.


def wait(job: audits.Job) -> audits.Job:
    for _ in range(200):
        if not job.running:
            return job
        time.sleep(0.02)
    raise AssertionError("the audit did not end")


def test_one_at_a_time_with_progress_and_stopped_when_asked(monkeypatch, folder):
    going, go_on = threading.Event(), threading.Event()

    def audit(data, progress=None, **_):
        progress("comparing", 1, 4, 30.0)
        going.set()
        assert go_on.wait(20)
        progress("comparing", 2, 4, 20.0)
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(kop_core.datasets.audit, "audit", audit)
    first, second = audits.start(folder, "one"), audits.start(folder, "two")
    assert going.wait(20)
    assert (first.share(), first.seconds_left) == (0.25, 30.0) and "Comparing" in first.stage
    assert second.running and "Waiting" in second.stage
    second.cancel()
    first.cancel()
    go_on.set()
    for job in (first, second):
        assert wait(job).error == "The audit was stopped." and job.report is None


def test_a_second_audit_of_the_same_data_finds_the_same(folder, temporary):
    first, second = (wait(audits.start(folder, "x")) for _ in range(2))
    assert first.error is None and len(first.report.files) == 18
    assert first.report.files == second.report.files and first.report is not second.report
    assert not list(temporary.iterdir())


def test_what_goes_wrong_is_in_words(monkeypatch, folder, caplog):
    for error, said in (
        (DataSetError("It is not so."), "It is not so."),
        (OSError(5, "Input/output error", "/secret/name.png"), "Input/output error"),
        (MemoryError(), "memory"),
        (ZeroDivisionError("secret"), "ended unexpectedly (ZeroDivisionError)"),
    ):

        def audit(*_, error=error, **__):
            raise error

        monkeypatch.setattr(kop_core.datasets.audit, "audit", audit)
        job = wait(audits.start(folder, "x"))
        assert said in job.error and "secret" not in job.error
    assert "ZeroDivisionError" in caplog.text and "secret" not in caplog.text


def test_only_some_audits_are_kept(by_hand, folder):
    jobs = [wait(audits.start(folder, str(i))) for i in range(audits.KEPT + 1)]
    assert audits.find(jobs[0].key) is None
    assert all(audits.find(job.key) is job for job in jobs[1:])
    assert len({job.key for job in jobs}) == len(jobs)


def test_what_dead_servers_left_is_swept(temporary):
    dead = temporary / "kop-data-999999999-abc"
    mine = temporary / f"kop-data-{os.getpid()}-abc"
    other = temporary / "kop-data-notes"
    for path in (dead, mine, other):
        path.mkdir()
    audits.sweep()
    assert not dead.exists() and mine.exists() and other.exists()


def test_an_archive_with_a_table_instead_of_class_folders(by_hand, tmp_path, monkeypatch):
    folder = make_data(tmp_path / "x", 2)
    (folder / "Normal").rename(folder / "a")
    (folder / "Osteopenia").rename(folder / "b")
    (folder / "Osteoporosis").rename(folder / "c")
    rows = [("a/Normal 0.png", "normal"), ("c/Osteoporosis 1.png", "osteoporosis")]
    (folder / "list.csv").write_text("file,class\n" + "\n".join(map(",".join, rows)))
    job = wait(audits.start(io.BytesIO(packed(folder)), "x.zip"))
    assert job.error is None
    assert [i.true for i in job.data.items] == ["healthy", "osteoporosis"]


@pytest.mark.parametrize("name", ["../../x.zip", "...zip", "a\0b.zip", "n" * 300 + ".zip"])
def test_names_of_archives_make_no_paths(by_hand, folder, temporary, name):
    job = wait(audits.start(io.BytesIO(packed(folder)), name))
    assert job.error is None
    assert job.data.folder.resolve().is_relative_to(temporary.resolve())


def test_pictures_are_kept_and_not_read_twice(by_hand, folder):
    job = wait(audits.start(folder, "x"))
    file = job.data.items[0].file
    picture = job.thumbnail(file, 64)
    assert picture.startswith("data:image/jpeg;base64,")
    (folder / file).unlink()
    assert job.thumbnail(file, 64) == picture
    assert job.thumbnail(file, 65) is None


def test_a_path_may_be_pasted_as_it_is():
    assert audits.folder_from("  '/a b/c' ") == Path("/a b/c")
    assert audits.folder_from('"/a"') == Path("/a")
    assert audits.folder_from("file:///a/b") == Path("/a/b")
    assert audits.folder_from("~") == Path.home()


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("~nobody-of-this-name/knees", "knows no home folder of ~nobody-of-this-name."),
        ("/" + 300 * "a", "cannot be opened (File name too long)."),
    ],
)
def test_a_path_that_no_machine_opens_is_said(page, path, says):
    at = audited(page, path)
    assert not at.exception and says in words(at)


def test_tables_are_told_to_who_does_not_see_them(page, folder):
    at = audited(page, folder)
    told = [d.proto.alt for d in at.dataframe]
    at.segmented_control(key="data_view").set_value("shortcuts").run()
    told += [d.proto.alt for d in at.dataframe]
    assert len(told) == 4 and all(told)


def test_an_audit_of_nothing_readable(page, folder, monkeypatch):
    def audit(data, progress=None, **_):
        return replace(report_of(data)[0], files=(), links=(), shortcuts=(), leakage=())

    monkeypatch.setattr(kop_core.datasets.audit, "audit", audit)
    at = audited(page, folder)
    assert not at.exception
    assert "No file could be read." in words(at)


def test_no_tensorflow_is_imported():
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "at.switch_page('pages/data.py').run()\n"
        "assert not at.exception and at.title, at\n"
        "import kop_core.datasets.audit.html, kop_core.figures.audit\n"
        "assert not {'tensorflow', 'keras', 'tf_keras_vis'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
