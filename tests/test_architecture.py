"""The plan of the house: who may import what, and that the core keeps quiet."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = sorted((ROOT / "kop_core").rglob("*.py"))


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_there_is_a_core():
    assert len(CORE) > 20


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_no_streamlit_and_no_page(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"streamlit", "pages", "dashboard", "app"}
    assert not tops & {"pickle", "dill", "joblib", "cloudpickle"}


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_in_the_core_prints_but_the_command_line(path):
    if path.name == "cli.py" or path.parent.name == "commands":
        return
    calls = [n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def test_networks_and_the_training_step_know_no_backend():
    paths = {
        *(ROOT / "kop_core/networks").glob("*.py"),
        *(ROOT / "kop_core/training").glob("*.py"),
    }
    # Several processors of one machine are TensorFlow's own, in a file that only they need.
    paths.remove(ROOT / "kop_core/training/mirrored.py")
    for path in paths:
        assert not {n for n in imported(path) if n.split(".")[0] in ("tensorflow", "tf_keras_vis")}


HEAVY = "('tensorflow', 'keras', 'tf_keras_vis')"


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    "module",
    ["evaluation", "datasets", "figures", "model_store", "networks", "radiographs", "cases",
     "classifier", "explanation", "cli", "training", "benchmarking"],
)  # fmt: skip
def test_importing_the_core_imports_no_tensorflow(module):
    run_python(
        f"import sys, kop_core.{module}\nassert not [m for m in {HEAVY} if m in sys.modules]"
    )


# Slow to import, and what serving needs none of: each is imported where it is used.
LATE = "('cv2', 'sklearn', 'scipy', 'matplotlib')"


@pytest.mark.parametrize(
    "module", ["cli", "evaluation", "datasets", "figures", "model_store", "classifier", "training"]
)
def test_importing_the_core_imports_nothing_of_the_audit_and_the_evaluation(module):
    run_python(
        f"import sys, kop_core.{module}\n"
        f"found = [m for m in {LATE} if m in sys.modules]\n"
        "assert not found, found"
    )


def test_home_is_drawn_without_the_libraries_of_the_audit_and_the_evaluation():
    run_python(
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "assert not at.exception and at.title, at\n"
        f"found = [m for m in {LATE} if m in sys.modules]\n"
        "assert not found, found"
    )


@pytest.mark.parametrize(
    "page", ["home", "models", "data", "report", "compare", "train", "confusion"]
)
def test_pages_that_need_no_model_import_no_tensorflow(page):
    run_python(
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=60).run()\n"
        f"at.switch_page('pages/{page}.py').run()\n"
        "assert not at.exception and at.title, at\n"
        f"assert not [m for m in {HEAVY} if m in sys.modules]"
    )


def test_the_classify_page_is_drawn_before_tensorflow_is_imported():
    run_python(
        "import sys\n"
        "from dashboard import loading\n"
        "seen = []\n"
        f"heavy = lambda: [m for m in {HEAVY} if m in sys.modules]\n"
        "loading.start_loading = lambda model: seen.append(heavy())\n"
        "from streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "at.switch_page('pages/classify.py').run()\n"
        "assert not at.exception\n"
        "assert seen == [[]], seen"
    )


def test_an_upload_may_be_as_large_as_a_file():
    from kop_core.radiographs import LIMITS

    config = (ROOT / ".streamlit" / "config.toml").read_text("utf-8")
    assert f"maxUploadSize = {LIMITS.max_bytes // 2**20}\n" in config
    assert "gatherUsageStats = false" in config and 'address = "localhost"' in config


def test_no_file_of_the_shared_data_is_in_the_repository():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    assert not [f for f in listed if f.lower().endswith((".jpg", ".jpeg", ".dcm", ".tif"))]
    assert not [f for f in listed if (ROOT / f).is_file() and (ROOT / f).stat().st_size > 32e6]
