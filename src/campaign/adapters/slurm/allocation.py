"""What an allocation is: read in one place, through one table, and asked again, since limits and nodes change."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from campaign.adapters.slurm.ask import ask, attempt
from campaign.core.model import Node
from campaign.errors import Code, UsageError

REFRESH_S = 30.0
"""Time between two questions to the controller."""

OWN_STEPS = 4294967290
"""Steps from here on are SLURM's own: batch scripts and the shells of `salloc`."""

MIB = 2**20
RUNNING = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED")


def _seconds(text: str) -> float | None:
    """A local time of SLURM, seconds since 1970-01-01 UTC; None for Unknown, None, N/A."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


FACTS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "job_id": (r"JobId=(\d+)", str),
    "name": (r"JobName=(\S+)", str),
    "state": (r"JobState=(\w+)", str),
    "began_s": (r"StartTime=(\S+)", _seconds),
    "ends_s": (r"EndTime=(\S+)", _seconds),
    "unlimited": (r"TimeLimit=(\S+)", lambda text: text == "UNLIMITED"),
}
"""Facts of a job: where `scontrol show job` says them, and what they mean."""

_SHARES = re.compile(r"Nodes=(\S+) CPU_IDs=(\S+) Mem=(\d+) GRES=(\S*)")
"""What of each node is the job's, a line for nodes that are alike (`scontrol -d show job`)."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """One job of SLURM, and what it holds."""

    job_id: str
    name: str
    state: str
    began_s: float | None  # seconds since 1970-01-01 UTC
    ends_s: float | None  # likewise; None where nothing ends it
    nodes: tuple[Node, ...]


def job_here(environment: Mapping[str, str]) -> str | None:
    """The job that we are in, as SLURM is asked for it; None outside.

    A task of an array is named by array and index: one of them has the number of the whole array as well, and asking for
    that number gives all of them.
    """
    if environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID") or None


def read_allocation(job_id: str) -> Allocation:
    """What a job holds now; UsageError where it is over or unknown."""
    done = attempt(("scontrol", "-d", "show", "job", job_id))
    if done.returncode and "Invalid job id" not in done.stderr:
        raise UsageError(
            Code.SLURM_REFUSED, f"scontrol could not tell about job {job_id}: {done.stderr.strip()}",
            action="wait for the controller, and try again",
        )  # fmt: skip
    found = parse_job(done.stdout, hostnames) if not done.returncode else None
    if found is None or found.state not in RUNNING:
        state = f"is {found.state}" if found is not None else "is unknown to SLURM"
        raise UsageError(
            Code.ALLOCATION_GONE, f"the allocation {job_id} {state}",
            action="leave its shell (exit), make a new one, and start again: nothing that was done is lost",
        )  # fmt: skip
    return replace(found, job_id=job_id)


def parse_job(text: str, expand: Callable[[str], list[str]]) -> Allocation:
    """The allocation in the words of `scontrol -d show job`; `expand` spells out a list of hosts."""
    facts = {name: meaning(_first(pattern, text)) for name, (pattern, meaning) in FACTS.items()}
    if facts.pop("unlimited"):
        facts["ends_s"] = None
    nodes = [
        Node(name, _count(cpus), _gpus(gres), int(memory) * MIB or None, facts["job_id"])
        for hosts, cpus, memory, gres in _SHARES.findall(text)
        for name in expand(hosts)
    ]
    return Allocation(**facts, nodes=tuple(nodes))


def hostnames(hosts: str) -> list[str]:
    """`n[01-03]` spelt out."""
    return ask("scontrol", "show", "hostnames", hosts).split()


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""


def _count(ids: str) -> int:
    """How many numbers `0-3,8` has."""
    ranges = [part.split("-") for part in ids.split(",") if part]
    return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)


def _gpus(gres: str) -> int:
    """GPUs of `gpu:2(IDX:0-1)` or `gpu:a100:4(IDX:0-3),...`."""
    return sum(int(number) for number in re.findall(r"gpu(?::[^:(,]+)?:(\d+)", gres))


def address_towards(node: str) -> str:
    """The address of this host that `node` can reach: what the routing table says about the way there."""
    shown = ask("scontrol", "show", "node", node)
    target = _first(r"NodeAddr=(\S+)", shown) or node
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((target, 9))
        return str(probe.getsockname()[0])


def any_node(partition: str) -> str:
    """Name of some node of a partition, or of any; what our address is looked up towards."""
    where = ("-p", partition) if partition else ()
    listed = ask("sinfo", "-h", "-N", *where, "-o", "%N").split()
    if not listed:
        raise UsageError(
            Code.SLURM_REFUSED, f"sinfo knows no node{f' of partition {partition}' if partition else ''}",
            action="correct slurm.partition; `sinfo` shows the choices",
        )  # fmt: skip
    return listed[0]


def jobs_in_queue(numbers: Collection[str]) -> set[str] | None:
    """Which of these jobs are in the queue, waiting or running; None where SLURM does not answer."""
    done = attempt(("squeue", "-h", "-j", ",".join(numbers), "-o", "%i"))
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return set(done.stdout.split())


class AllocationWatch:
    """The allocation as it was last heard of."""

    def __init__(self, allocation: Allocation) -> None:
        self._lock = threading.Lock()
        self.current = allocation
        self.gone = ""  # why it is no more
        self._asked = time.monotonic()

    def left_s(self) -> float | None:
        """Seconds until it ends; None where nothing ends it. Asks nobody."""
        ends = self.current.ends_s
        return None if ends is None else ends - time.time()

    def refresh(self, *, at_once: bool = False) -> None:
        """Ask SLURM again, if it is time; whatever it can't tell now stays as it was."""
        with self._lock:
            if not at_once and time.monotonic() - self._asked < REFRESH_S:
                return
            self._asked = time.monotonic()
            try:
                self.current = read_allocation(self.current.job_id)
            except UsageError as error:
                if error.code is Code.ALLOCATION_GONE:
                    self.gone = error.message


def typed_step(environment: Mapping[str, str]) -> str:
    """Number of the step that a person typed and that has several ranks, of which we are one; empty where we are none."""
    step, ranks = environment.get("SLURM_STEP_ID", ""), environment.get("SLURM_STEP_NUM_TASKS", "1")
    return step if step.isdecimal() and int(step) < OWN_STEPS and int(ranks) > 1 else ""


def step_file(metadata: Path, environment: Mapping[str, str]) -> Path:
    """Where rank 0 of a typed step says where its scheduler is."""
    return metadata / f".scheduler-{environment['SLURM_JOB_ID']}-{environment['SLURM_STEP_ID']}.json"


def node_here(environment: Mapping[str, str]) -> Node:
    """The node that this process runs on, as its own job holds it."""
    name = environment["SLURMD_NODENAME"]
    held = read_allocation(job_here(environment) or "")
    node = next(node for node in held.nodes if node.name == name)
    return node if held.ends_s is None else replace(node, ends_ms=round(1000 * held.ends_s))


def known_node(nodes: Mapping[str, Node], environment: Mapping[str, str]) -> Node:
    """The node that this process runs on, out of those that the coordinator knows."""
    return nodes[environment["SLURMD_NODENAME"]]
