"""Jobs on a Ray cluster: two nodes on this machine, one of them killed in the middle."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from kop_core.benchmarking import RECIPE, Cluster, Told, benchmark, plan, results, runs, speed
from kop_core.benchmarking import cluster as clusters
from kop_core.errors import RunError
from kop_core.training.run_folder import RunFolder
from tests.conftest import REQUIRE_ALL, make_data, write_radiographs

# The network that is ready soonest, at its smallest.
NETWORK, SIDE = "alexnet", 64
PROCESSORS = os.cpu_count() or 1
# Bytes of a node's store of objects, the least that Ray takes.
STORE = 80 * 2**20
# Ray takes 127.0.0.1 for the machine's address in its network; another of the loop it leaves.
LOOP = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"


@pytest.fixture
def at_work(monkeypatch):
    """Where nodes put runs at work, and Ray its sockets, whose paths must be short."""
    with tempfile.TemporaryDirectory(prefix="kop-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@pytest.fixture
def nodes(at_work, monkeypatch):
    """A head without processors, and two nodes that have room for one job each."""
    if not REQUIRE_ALL:
        pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster as Nodes

    made = Nodes()
    head = made.add_node(num_cpus=0, include_dashboard=False, object_store_memory=STORE,
                         node_ip_address=LOOP)  # fmt: skip
    assert head.address == made.address
    workers = [
        made.add_node(num_cpus=PROCESSORS, object_store_memory=STORE, node_ip_address=LOOP)
        for _ in range(2)
    ]
    yield made, workers
    made.shutdown()


def at_work_on_a_job(node) -> bool:
    """Return whether a process of a node does one: Ray names them by what they do."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    with suppress(psutil.NoSuchProcess):
        names = [process.cmdline()[:1] for process in raylet.children(recursive=True)]
        return any(name and name[0].startswith("ray::_work") for name in names)
    return False


def test_a_lost_node_loses_nothing_and_results_are_the_same(nodes, at_work, tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "covers", lambda *_: True)  # not what this is about
    made, workers = nodes
    data = write_radiographs(make_data(tmp_path / "knees", 8))
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, batch_size=8, precision="float32")
    wanted = plan([NETWORK], ["radiograph"], 2, recipe=recipe, size=SIDE)
    killed, ended = [], []

    def kill_one() -> None:
        """Kill a node as soon as it is at work on a job."""
        until = time.monotonic() + 120
        while time.monotonic() < until:
            if at_work_on_a_job(workers[1]) and list(at_work.glob("kop-*/**/split.csv")):
                made.remove_node(workers[1], allow_graceful=False)
                killed.append(True)
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    there = benchmark(
        data, wanted, tmp_path / "there", tmp_path / "runs there",
        on=Cluster(made.address, PROCESSORS),
        told=Told(ended=lambda job, error, left, _: ended.append((job.name, error, left))),
    )  # fmt: skip
    killer.join()
    assert killed and len(ended) == 2
    assert {name for name, *_ in ended} == {job.name for job in wanted[0].jobs}
    assert [error for _, error, _ in ended] == [None, None]
    begun = []
    here = benchmark(data, wanted, tmp_path / "here", tmp_path / "runs here",
                     told=Told(began=lambda *said: begun.append(said)))  # fmt: skip
    assert len(begun) == 2
    one, other = (results.read(page.parent / "knees") for page in (there, here))
    assert one.finished[0]["predictions"] == other.finished[0]["predictions"]  # to the last digit
    for path in (tmp_path / "runs here").rglob("predictions.csv"):
        same = tmp_path / "runs there" / path.relative_to(tmp_path / "runs here")
        assert same.read_bytes() == path.read_bytes()
    kept = {p.name for p in (tmp_path / "runs there").rglob("*") if p.is_file()}
    assert kept == {*runs.KEPT, "lock"}


def test_a_job_that_is_too_large_for_every_node_is_named(monkeypatch):
    class Ray:
        def nodes(self):
            return [
                {"Alive": True, "Resources": {"CPU": 2.0}},
                {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
            ]

    clusters._require_node(Ray(), Cluster("auto", 2))
    with pytest.raises(RunError, match="No node of the cluster at auto has 4 processors"):
        clusters._require_node(Ray(), Cluster("auto", 4))
    with pytest.raises(RunError, match="has 1 processors and 1 GPUs"):
        clusters._require_node(Ray(), Cluster("auto", 1, 1))


@pytest.mark.parametrize(
    "address", ["", "somewhere", "ray://10.0.0.5:10001", "10.0.0.5:", "10.0.0.5:99999", ":6379"]
)
def test_what_is_no_address_is_named(address):
    with pytest.raises(RunError, match="is no address of a Ray cluster"):
        clusters._require_answer(address)


def test_nobody_at_the_address_is_named_at_once():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RunError, match=f"which Ray takes for 127.0.0.3:{address[10:]} "):
        clusters._require_answer(address, lambda: "127.0.0.3")
    began = time.monotonic()
    with pytest.raises(RunError, match=f"Nothing answers at {address}.*ray start --head"):
        clusters._require_answer(address)
    assert time.monotonic() - began < 10


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(RunError, match=r"pip install -r requirements-ray.txt"),
        clusters.connected(Cluster("auto")),
    ):
        pass


def test_a_node_that_could_give_other_results_says_so(tmp_path):
    job = plan(["paper"], ["radiograph"], 2)[0].jobs[0]
    config = job.config.get_config()
    found = clusters._work(job.name, config, str(tmp_path), {"keras": "1.0"}, 1)
    assert "has keras 3" in found["failed"] and "not 1.0" in found["failed"]
    found = clusters._work(job.name, config, str(tmp_path / "none"), {}, 1)
    assert "does not see" in found["failed"] and "same path" in found["failed"]
    found = clusters._work(job.name, config, str(tmp_path), {}, 1)
    assert str(tmp_path) in found["failed"]  # there is no picture in it


def came_back(job, **record):
    """Return a cluster that has done a job, with what the record of its run says."""
    said = {"config": job.config.get_config(), "data": {"fingerprint": "f"}, "pretrained": None}
    files = dict.fromkeys(runs.KEPT, b"") | {"run.json": json.dumps(said | record).encode()}

    class Ray:
        def get(self, _):
            return {"files": files, "node": "there"}

    return Ray()


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"data": {"fingerprint": "g"}}, "on the node there was trained on other pictures"),
        (
            {"pretrained": {"name": "a", "sha256": "b"}},
            "on the node there began with other weights",
        ),
    ],
)
def test_a_node_with_other_data_fails_its_job_alone(record, says, tmp_path):
    job = plan(["paper"], ["radiograph"], 2)[0].jobs[0]
    run = RunFolder(tmp_path / job.name)
    error = clusters._take(came_back(job, **record), None, run, job, "f")
    assert says in str(error) and not run.path.exists()
    assert clusters._take(came_back(job), None, run, job, "f") is None
    assert {path.name for path in run.path.iterdir()} == set(runs.KEPT)
