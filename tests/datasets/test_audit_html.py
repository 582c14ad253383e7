"""The report that is sent to a colleague: whole, bounded, and inert."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from kop_core.datasets import make_split, with_radiographs
from kop_core.datasets.audit import audit, browsing, words
from kop_core.datasets.audit.html import Bounds, to_html
from kop_core.datasets.scanning import scan
from kop_core.errors import DataSetError
from tests.datasets.copying import generated
from tests.datasets.reports import facts, leakages, make_report, report_of, shortcuts

PICTURE = re.compile(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]*)"')


@pytest.fixture
def made(tmp_path):
    return make_report(tmp_path / "knees & co")


def without_plotly(text: str) -> str:
    """The report but for the library, which is long and speaks of many addresses."""
    head, _, rest = text.partition("<script>")
    return head + rest.partition("</script></head>")[2]


def test_everything_is_inside(made):
    text = to_html(*made)
    assert text.count("plotly.js v") == 1 and "default-src 'none'" in text
    body = without_plotly(text)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:|//|file:)""", body)
    assert "@import" not in body and "url(" not in body
    assert "prefers-color-scheme: dark" in body
    for source, alt in PICTURE.findall(body):
        picture = Image.open(io.BytesIO(base64.b64decode(source)))
        assert picture.format == "JPEG" and max(picture.size) <= 176 and alt


def test_the_answer_comes_first_and_the_sections_after(made):
    body = without_plotly(to_html(*made))
    assert '<p class="answer">10 radiographs in 18 files.</p>' in body
    order = [body.index(f'id="{key}"') for key in
             ("radiographs", "copies", "conflicts", "shortcuts", "files")]  # fmt: skip
    assert order == sorted(order)
    assert 'id="patients"' not in body
    assert "Normal/bad.png: the picture breaks off before its end." in body
    assert "knees &amp; co" in body and "not a medical device" in body


def test_a_picture_comes_before_its_number(made):
    body = without_plotly(to_html(*made))
    for key, said in (("copies", "12 of 18 files show"), ("conflicts", "filed under more than")):
        section = body[body.index(f'<section id="{key}"') :].partition("</section>")[0]
        assert section.index("<img") < section.index(said)


def test_conflicts_stand_side_by_side_with_names_and_classes(made):
    body = without_plotly(to_html(*made))
    article = body[body.index('id="G0001"') :].partition("</article>")[0]
    names = [alt for _, alt in PICTURE.findall(article)]
    assert names == [f"Radiograph {c}/{c} {i}.png" for c in ("Normal", "Osteopenia", "Osteoporosis")
                     for i in (0, 1)]  # fmt: skip
    assert re.findall(r'class="class">(\w+)<', article) == ["Healthy", "Osteopenia", "Osteoporosis"]
    assert "6 files show it, filed under healthy, osteopenia and osteoporosis." in article


def test_names_do_no_harm(tmp_path):
    report, data = make_report(tmp_path / "x")
    old = data.folder / "Normal" / "Normal 0.png"
    bad = "<img src=x onerror=alert(1)>\"'&.png"
    old.rename(old.with_name(bad))
    report, data = report_of(scan(data.folder))
    shortcut = replace(shortcuts()[0], title="</script><script>alert(2)</script>")
    report = replace(
        report, name="<u>name", shortcuts=(shortcut,), unreadable=(("<s>a", "<s>because"),),
        patients={
            "counted": "files", "known": 1,
            "variables": {"</script><i>v": {"kind": "category", "by_class": {
                "healthy": {"n": 1, "missing": 0, "counts": {"</script><b>": 1}}}}},
        },
    )  # fmt: skip
    text = to_html(report, data)
    body = without_plotly(text)
    assert "Normal/&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;.png" in body
    for harm in ("<img src=x", "<script>alert", "<s>", "<u>", "<i>v", "<b>"):
        assert harm not in body
    # Every script that is opened is closed by its own end, and by nothing inside it.
    assert body.count("<script") == body.count("</script>")


def test_bounds_are_kept_and_what_is_left_is_counted(made):
    report, data = made
    many = tuple((f"{i}.png", "broken") for i in range(30))
    report = replace(report, unreadable=many)
    body = without_plotly(
        to_html(report, data, Bounds(conflicts=0, groups=2, pictures=1, listed=4))
    )
    assert len(PICTURE.findall(body)) == 2
    assert body.count("And 1 more in groups.csv.") == 4  # one each, and a group and a conflict
    assert "And 26 more." in body and "30 files could not be read" in body

    whole = sum(len(base64.b64decode(p)) for p, _ in PICTURE.findall(to_html(report, data)))
    body = to_html(report, data, Bounds(bytes=whole // 2))
    shown = sum(len(base64.b64decode(p)) for p, _ in PICTURE.findall(body))
    assert 0 < shown <= whole // 2 and "No room for the picture." in body


def test_a_file_that_is_gone_is_said(made):
    report, data = made
    (data.folder / "Normal" / "Normal 0.png").unlink()
    assert "The file can no longer be read." in to_html(report, data)


def test_progress_is_told(made):
    steps = []
    to_html(*made, progress=lambda *step: steps.append(step))
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_report_of_nothing(made):
    report, data = made
    report = replace(report, files=(), links=(), shortcuts=(), leakage=(), unreadable=())
    body = without_plotly(to_html(report, data))
    assert "No file could be read." in body and "No two files show" in body


# Groups, and what is said of them.


def test_groups_in_order_and_chosen(made):
    report, _ = made
    groups = browsing.all_groups(report)
    assert [g.radiograph for g in groups] == [
        "G0001", "G-healthy", "G-osteopenia", "G-osteoporosis",
    ]  # fmt: skip
    first = groups[0]
    assert first.conflicted and first.classes == ("healthy", "osteopenia", "osteoporosis")
    assert first.strengths == ("identical", "near") and first.mirrored
    assert browsing.choose(groups, conflicted=True) == (first,)
    assert [g.radiograph for g in browsing.choose(groups, true="osteopenia")] == [
        "G0001", "G-osteopenia",
    ]  # fmt: skip
    assert browsing.choose(groups, strength="near") and not browsing.choose(groups, "none")


def test_of_many_files_some_of_every_class_are_shown():
    files = [facts(file=f"{i}", sha256=f"{i // 5}") for i in range(20)]
    files.append(facts("osteopenia", file="x"))
    group = browsing.Group("G1", tuple(files), ("healthy", "osteopenia"), (), False)
    shown = group.shown(4)
    assert [f.true for f in shown].count("osteopenia") == 1
    assert len({f.sha256 for f in shown if f.true == "healthy"}) == 3  # copies last
    assert group.shown(21) == tuple(files)


def test_sentences(made):
    report, _ = made
    assert words.copies(report).startswith("12 of 18 files show a radiograph that another file")
    assert "1 radiograph is filed under more than one class" in words.conflicts(report)
    assert "95 % of the test files" in words.leakage(report)
    assert "says mostly how well copies are recognised" in words.leakage(report)
    few = replace(report, leakage=(replace(leakages()[0], identical=0, near=1, any=2),))
    assert "20 % of the test files" in words.leakage(few)
    assert "is partly recognition of copies" in words.leakage(few)
    first, second = (words.shortcut(s) for s in report.shortcuts)
    assert "Right on 94 % (95 % CI 91–96) of the files by random split, on 35 %" in first
    assert "recognition of copies" in first and "cannot be measured" in second
    alone = replace(report, links=(), leakage=leakages()[2:],
                    files=tuple(replace(f, radiograph=f.file) for f in report.files))  # fmt: skip
    assert words.headline(alone) == "18 files, and no radiograph is there twice."
    assert words.copies(alone) == "No two files show the same radiograph."
    assert words.conflicts(alone) == "No radiograph is filed under more than one class."
    assert "not measured" in words.leakage(alone)


def test_shortcuts_that_were_not_measured_are_said():
    assert words.shortcut(replace(shortcuts()[0], random=None)) == (
        "The most similar picture. Not measured: there is too little to tell apart."
    )


def test_a_shortcut_that_works_by_radiograph_is_called_one():
    strong = replace(shortcuts()[0], by_radiograph=replace(shortcuts()[0].random))
    assert "without looking at bone" in words.shortcut(strong)


def test_patients_of_a_group_are_named_where_they_differ():
    one = facts(patient="P1")
    group = browsing.Group("G1", (one, replace(one, patient="P2")), ("healthy",), (), False)
    assert words.patients(group) == "It is listed under 2 patients: P1, P2."
    assert words.patients(replace(group, files=(one, one))) == ""


def test_tables_to_take_away(made):
    report, data = made
    lines = browsing.groups_csv(report).splitlines()
    assert lines[0] == "file,radiograph" and lines[1] == "Normal/Normal 0.png,G0001"
    assert len(lines) == 19

    rows = browsing.split_csv(data, report, 0.3, seed=1).splitlines()
    parts = {}
    for row in rows[1:]:
        file, part, *_ = row.split(",")
        radiograph = next(f.radiograph for f in report.files if f.file == file)
        parts.setdefault(radiograph, set()).add(part)
    assert len(rows) == 19 and all(len(p) == 1 for p in parts.values())
    dropped = browsing.split_csv(data, report, 0.3, seed=1, conflicts="drop")
    assert dropped.count("left out") == 6


@pytest.mark.parametrize("given", [1, 9], ids=["some are named", "all are named"])
def test_the_page_splits_as_the_command_does(tmp_path, given):
    """Pairs of knees that differ, of which only a table knows that they are one."""
    for place, name in enumerate(("Normal", "Osteopenia", "Osteoporosis")):
        (tmp_path / "knees" / name).mkdir(parents=True)
        for i in range(6):
            picture = Image.fromarray(generated(10 * place + i, 96, 128))
            picture.save(tmp_path / "knees" / name / f"{i}.png")
    rows = [
        f"{name}/{i}.png,{name}{i // 2}"
        for name in ("Normal", "Osteopenia", "Osteoporosis")
        for i in range(6)
    ]
    table = "\n".join(["file,radiograph", *rows[: 2 * given]])
    (tmp_path / "knees" / "radiographs.csv").write_text(table)
    data = scan(tmp_path / "knees")
    report = audit(data)
    made = make_split(with_radiographs(data), "radiograph", 0.3, 1).to_csv()
    assert browsing.split_csv(data, report, 0.3, 1) == made
    named = {i.file: i.radiograph for i in browsing.with_groups(data, report).items}
    for place in range(given):
        first, second = (row.partition(",")[0] for row in rows[2 * place : 2 * place + 2])
        assert named[first] == named[second]
    assert len(set(named.values())) == 18 - given


def test_other_classes_cannot_be_split(made):
    report, data = made
    items = tuple(replace(i, true="KL 2") for i in data.items)
    with pytest.raises(DataSetError, match="KL 2"):
        browsing.split_csv(replace(data, items=items), report, 0.2, 0)


def test_thumbnails(made):
    _, data = made
    picture = Image.open(io.BytesIO(browsing.thumbnail(data.path(data.items[0]), 64)))
    assert picture.format == "JPEG" and picture.size == (48, 64) and picture.mode == "L"
    assert browsing.thumbnail(data.folder / "none.png") is None
