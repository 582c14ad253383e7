from kop_core import classes


def test_order_and_colours():
    assert classes.CLASS_NAMES == ("healthy", "osteopenia", "osteoporosis")
    assert [c.colour for c in classes.CLASSES] == ["#0072B2", "#E69F00", "#D55E00"]


def test_folder_names_are_matched_by_synonyms():
    for folder, name in {
        "Normal": "healthy",
        "healthy": "healthy",
        "0_Normal": "healthy",
        "Osteopenia": "osteopenia",
        "osteopenic ": "osteopenia",
        "OSTEOPOROSIS": "osteoporosis",
        "2 - Osteoporotic": "osteoporosis",
    }.items():
        assert classes.match(folder) == name


def test_other_folders_match_nothing():
    for folder in ("", "abnormal", "OP", "os", "n", "test", "not osteoporosis", "knee"):
        assert classes.match(folder) is None
