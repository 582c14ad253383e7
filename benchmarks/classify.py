"""How long one radiograph takes, as medians and as ratios within one run.

    python benchmarks/classify.py [--image FILE] [--rounds N] [--json]

Four ways are measured in turn, round by round, so that a busy machine slows all alike:

- ``raw forward pass``: the compiled network on a picture already prepared.
- ``classify``: what KOP does with a radiograph that was read.
- ``classify with Grad-CAM``: the same, with a map of influence.
- ``notebook``: ``model.predict`` and a new tf-keras-vis ``Gradcam`` each time.

Then, each in a process of its own: seconds until the first page answers and until its
first verdict, seconds of the first ``python -m kop_core classify``, and peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ratios import ratio  # noqa: E402
from kop_core import backend  # noqa: E402

backend.settle()

SAMPLE = ROOT.parent / "shared" / "data" / "full_size" / "normal" / "N10.JPEG"
TO_REACH = {"classify with Grad-CAM / raw forward pass": ("at most", 2.0),
            "notebook / classify with Grad-CAM": ("at least", 3.0)}  # fmt: skip


def main() -> int:
    """Measure, print, and return 1 if a ratio that is to be reached is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, default=SAMPLE, help="a radiograph")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not options.image.is_file():
        parser.error(f"there is no file {options.image}: name a radiograph with --image")
    found = {"machine": machine(), **warm(options.image, options.rounds)}
    found["cold start"] = {**cold_page(options.image), **cold_command(options.image)}
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 0 if all(r["reached"] for r in found["ratios"].values()) else 1


def machine() -> str:
    """Return what the figures were measured on."""
    model = ""
    if Path("/proc/cpuinfo").is_file():
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        model = match.group(1) if match else ""
    python = platform.python_version()
    return f"{model or platform.processor()}, {os.cpu_count()} cores, Python {python}"


def warm(image: Path, rounds: int) -> dict:
    """Measure the four ways in this process, after each was run twice."""
    from kop_core.commands.console import start_tensorflow

    start_tensorflow()
    import tensorflow as tf
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    from kop_core import model_store, networks, radiographs
    from kop_core.classifier import Classifier

    model = model_store.get()
    classifier = Classifier(model)
    network = networks.get(model.card["network"])
    plain = networks.load(
        network.name, model.card["options"], model.folder / model_store.WEIGHTS
    )  # fmt: skip
    radiograph = radiographs.read(image)
    inputs = tf.constant(radiographs.prepare(radiograph, classifier.preparation)[None])
    compiled = tf.function(lambda x: plain(x, training=False)).get_concrete_function(inputs)

    def notebook() -> None:
        best = int(plain.predict(inputs, verbose=0).argmax())
        gradcam = Gradcam(plain, model_modifier=ReplaceToLinear(), clone=True)
        gradcam(CategoricalScore([best]), inputs, penultimate_layer=network.explain_layer)

    ways: dict[str, Callable] = {
        "raw forward pass": lambda: compiled(inputs)[0].numpy(),
        "classify": lambda: classifier.classify(radiograph),
        "classify with Grad-CAM": lambda: classifier.classify(radiograph, "gradcam"),
        "read the file, classify with Grad-CAM": lambda: classifier.classify(
            radiographs.read(image), "gradcam"
        ),
        "notebook": notebook,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 2):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn >= 2:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    return {
        "image": image.name,
        "rounds": rounds,
        "median ms": {name: round(1000 * s, 1) for name, s in medians.items()},
        "ratios": {name: ratio(name, medians, *bound) for name, bound in TO_REACH.items()},
    }


def cold_page(image: Path) -> dict[str, float | str]:
    """Start the dashboard and a browser; measure the first page and the first verdict."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        return {"first page": "not measured: needs Chromium"}
    from playwright.sync_api import sync_playwright

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=chromium, args=arguments).new_page()
        page.set_default_timeout(120_000)
        began = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true",
             "--server.port", str(port)],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        peak = PeakMemory(server.pid)
        try:
            wait_for_port(port)
            page.goto(f"http://localhost:{port}/")
            page.get_by_role("heading", name="KOP").wait_for()
            first_page = time.perf_counter() - began
            page.get_by_role("link", name="Classify X-rays").click()
            page.locator("input[type=file]").set_input_files(image)
            page.locator(".kop-verdict").wait_for()
            first_verdict = time.perf_counter() - began
            page.get_by_text("It is not the outline of a lesion").or_(
                page.get_by_text("no positive evidence")
            ).wait_for()
        finally:
            server.terminate()
            server.wait()
    return {
        "first page, s": round(first_page, 1),
        "first verdict in the browser, s": round(first_verdict, 1),
        "peak memory of the server, MB": peak.stop(),
    }


def wait_for_port(port: int) -> None:
    """Wait until something listens there."""
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("the dashboard did not start")


def cold_command(image: Path) -> dict[str, float]:
    """Measure the first classification of a fresh process."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "kop_core", "classify", str(image)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    peak = PeakMemory(process.pid)
    process.wait()
    return {
        "python -m kop_core classify, s": round(time.perf_counter() - began, 1),
        "its peak memory, MB": peak.stop(),
    }


class PeakMemory:
    """Watches a process's resident memory from a thread."""

    def __init__(self, pid: int) -> None:
        import psutil

        self._process, self._gone, self._peak = psutil.Process(pid), psutil.Error, 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            while self._process.status() != "zombie":
                self._peak = max(self._peak, self._process.memory_info().rss)
                time.sleep(0.05)
        except self._gone:
            return

    def stop(self) -> int:
        """Return the most there was, in MB, when the process has ended."""
        self._thread.join(5)
        return round(self._peak / 1e6)


def as_text(found: dict) -> str:
    """Return the figures as a table."""
    lines = [found["machine"], f"{found['image']}, median of {found['rounds']} rounds", ""]
    lines += [f"{name:<42}{ms:>9.1f} ms" for name, ms in found["median ms"].items()]
    lines.append("")
    for name, r in found["ratios"].items():
        mark = "reached" if r["reached"] else "NOT reached"
        lines.append(f"{name:<42}{r['value']:>9.2f}    ({r['to reach']}: {mark})")
    lines.append("")
    lines += [f"{name:<42}{value:>9}" for name, value in found["cold start"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
