"""Jobs on a Ray cluster: each on whatever node has room, again elsewhere if that is lost.

Every node needs the same KOP in the same folder and the data under the same path. A job's
run is at work in a folder of the node's own; what is small of it comes back and is kept here,
so nodes share no other folder.

Ray hands its own processes objects as pickles. They come from this program and from its
cluster, never from a file of KOP's: name only a cluster that you trust.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kop_core import backend
from kop_core.benchmarking import runs
from kop_core.benchmarking.planning import Job
from kop_core.errors import KopError, RunError
from kop_core.training import transfer
from kop_core.training.config import TrainingConfig
from kop_core.training.run_folder import RunFolder
from kop_core.training.versions import versions

# How often a job is begun again whose node is lost.
RETRIES = 5
_PATIENCE = 5.0
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
# Results of other versions of these can differ.
_SAME = ("kop", "keras", "tensorflow", "numpy", "pillow")


@dataclass(frozen=True)
class Cluster:
    """Where jobs are sent.

    Attributes:
        address: ``HOST:PORT`` of the head node, or ``"auto"`` for the cluster that this
            machine is a node of.
        processors: how many a job takes on its node.
        gpus: share or number of GPUs that a job takes.
    """

    address: str
    processors: int = 2
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.processors < 1:
            raise RunError(f"A job needs at least 1 processor, not {self.processors}.")
        if self.gpus < 0:
            raise RunError(f"A job cannot take {self.gpus:g} GPUs.")


@contextmanager
def connected(cluster: Cluster) -> Iterator[Any]:
    """Connect to a cluster, give Ray, and let go of it at the end.

    Raises:
        RunError: if Ray is not installed, nothing answers at the address, or no node is
            large enough for a job.
    """
    ray = _ray()
    _require_answer(cluster.address, ray.util.get_node_ip_address)
    try:
        ray.init(
            address=cluster.address,
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=True,
            ignore_reinit_error=False,
        )
    except Exception as error:  # Ray has no error of its own for most of what can be wrong
        raise RunError(
            f"The Ray cluster at {cluster.address} cannot be used ({_first_line(error)}). This "
            "machine must be one of its nodes, with the same versions of Ray and Python: "
            "ray start --address=HOST:PORT"
        ) from error
    try:
        _require_node(ray, cluster)
        yield ray
    finally:
        ray.shutdown()


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would tell its makers of its use
    try:
        import ray
    except ImportError:
        raise RunError(
            "To send jobs to a Ray cluster, Ray must be installed here and on its nodes: "
            "pip install -r requirements-ray.txt. Without --ray the jobs run here, one after "
            "another, with the same results."
        ) from None
    return ray


def _require_answer(address: str, own: Callable[[], str] = lambda: "127.0.0.1") -> None:
    """See that somebody listens: Ray itself would try for minutes.

    Args:
        address: as it was given.
        own: gives the address in the network that Ray takes for that of this machine alone.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or "/" in host:
        raise RunError(
            f"{address!r} is no address of a Ray cluster. It looks like 10.0.0.5:6379, or is auto "
            "for the cluster that this machine is a node of."
        )
    host = host.strip("[]")
    reached = own() if host in _THIS_MACHINE else host
    try:
        with socket.create_connection((reached, int(port)), _PATIENCE):
            return
    except OSError as error:
        taken = "" if reached == host else f", which Ray takes for {reached}:{port}"
        raise RunError(
            f"Nothing answers at {address}{taken} ({error.strerror or error}). Start the "
            "cluster's head there first: RAY_USAGE_STATS_ENABLED=0 ray start --head --port=6379 "
            "--include-dashboard=false"
        ) from error


def _require_node(ray: Any, cluster: Cluster) -> None:
    wanted = {"CPU": cluster.processors, "GPU": cluster.gpus}
    for node in ray.nodes():
        has = node["Resources"]
        if node["Alive"] and all(has.get(name, 0) >= count for name, count in wanted.items()):
            return
    gpus = f" and {cluster.gpus:g} GPUs" if cluster.gpus else ""
    raise RunError(
        f"No node of the cluster at {cluster.address} has {cluster.processors} processors{gpus}, "
        "which a job is to take. Ask for fewer (--job-processors, --job-gpus)."
    )


def do(
    ray: Any, jobs: Sequence[Job], folder: Path, data_folder: Path, fingerprint: str,
    cluster: Cluster, ended: Callable[[Job, KopError | None, int], None],
) -> None:  # fmt: skip
    """Have jobs done by a cluster, and keep what is small of each as soon as it ends.

    Args:
        ray: see :func:`connected`.
        jobs: what to do.
        folder: of the data set's runs, here.
        data_folder: the radiographs, under a path that every node sees.
        fingerprint: of them, as they are here.
        cluster: what a job takes.
        ended: called with a job, why it failed (or ``None``), and how many are left.

    Raises:
        RunError: if what came back cannot be written.
    """
    work = ray.remote(num_cpus=cluster.processors, num_gpus=cluster.gpus, max_retries=RETRIES)(
        _work
    )
    here = {name: number for name, number in versions().items() if name in _SAME}
    waiting = {
        work.remote(
            job.name, job.config.get_config(), str(data_folder.absolute()), here, cluster.processors
        ): job
        for job in jobs
    }
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1)
        job = waiting.pop(done[0])
        error = _take(ray, done[0], RunFolder(folder / job.name), job, fingerprint)
        ended(job, error, len(waiting))


def _take(ray: Any, reference: Any, run: RunFolder, job: Job, fingerprint: str) -> KopError | None:
    """Keep what came of a job, if it is what was asked for; return why not, or ``None``."""
    try:
        found = ray.get(reference)
    except Exception as error:  # of the node, of Ray, or of what ran there
        return RunError(f"{job.name} failed on the cluster ({_first_line(error)}).")
    if "failed" in found:
        return RunError(found["failed"])
    record = json.loads(found["files"]["run.json"])
    problem = runs.differs(record, job, fingerprint)
    if not problem and record["pretrained"] != transfer.origin(job.config):
        problem = "began with other weights than those there are here"
    if problem:
        return RunError(
            f"What came of {job.name} on the node {found['node']} {problem}. The data and the "
            "weights must be the same on all nodes."
        )
    runs.keep(run, found["files"])
    return None


def _work(
    name: str, config: Mapping[str, Any], data_folder: str, wanted: Mapping[str, str], threads: int
) -> dict[str, Any]:
    """Do one job on a node; return the files that are kept, or why there are none.

    Args:
        name: of the job.
        config: its settings.
        data_folder: the radiographs.
        wanted: versions that this node must have.
        threads: processors that it may use.
    """
    backend.settle()
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(threads))
    node = socket.gethostname()
    there = versions()
    for package, version in wanted.items():
        if there.get(package) != version:
            return {
                "failed": f"The node {node} has {package} {there.get(package)} and not {version}, "
                "with which results could differ. Install the same there."
            }
    if not Path(data_folder).exists():
        return {
            "failed": f"The node {node} does not see {data_folder}. The data must be there under "
            "the same path."
        }
    job = Job(name, TrainingConfig.from_config(dict(config)))
    try:
        with tempfile.TemporaryDirectory(prefix="kop-") as folder:
            with runs.explained():
                runs.do(job, Path(folder), data_folder)
                files = runs.files_of(RunFolder(Path(folder) / name))
            return {"files": files, "node": node}
    except KopError as error:
        return {"failed": str(error)}


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300].rstrip(".")
