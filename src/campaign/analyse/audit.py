"""Every job, artifact and product accounted for, from what is committed; ledger and dataset are compared against it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from campaign.core.lifecycle import UNMET, JobTable
from campaign.core.model import Product, Record, State
from campaign.errors import FormatError
from campaign.plan import Plan, States
from campaign.ports import Artifacts

HASHED_TOGETHER = 256
"""Products that are handed out for hashing at a time, so that memory stays bounded."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    kind: str  # such as product.missing
    where: str  # the job, or the path
    what: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found."""

    total: int
    counts: Mapping[str, int]  # state -> jobs, as the committed records say; sums up to `total`
    artifacts: int
    records: int
    products: int  # that are there as recorded
    products_bytes: int
    hashed: bool  # whether the products were read and their checksums compared
    findings: tuple[Finding, ...]
    quarantined: tuple[Mapping[str, str], ...] = ()  # files that were set aside, and why

    @property
    def sound(self) -> bool:
        """Whether everything is as it should be; jobs that failed are accounted for like others."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {**asdict(self), "counts": dict(self.counts), "sound": self.sound}


@dataclass(slots=True)
class Truth:
    """What the committed artifacts say."""

    table: JobTable
    artifacts: int = 0
    records: int = 0
    foreign: int = 0
    findings: list[Finding] = field(default_factory=list)


def read_truth(plan: Plan, artifacts: Artifacts) -> Truth:
    """Fold every committed record; a file that can't be trusted is a finding."""
    truth = Truth(JobTable.empty(plan.size))
    for number in artifacts.numbers():
        try:
            records = artifacts.read(number).records
        except FormatError as error:
            truth.findings.append(
                Finding("artifact.damaged", artifacts.relative(artifacts.path(number)), error.message)
            )
            continue
        truth.artifacts += 1
        ours = plan.own(records)
        truth.records += len(records)
        truth.foreign += len(records) - len(ours)
        for record in ours:
            truth.table.fold(record)
    if truth.foreign:
        words = f"{truth.foreign} records are of jobs that this plan does not have"
        truth.findings.append(Finding("record.foreign", "batches/", words))
    return truth


def batches_of(plan: Plan, artifacts: Artifacts, numbers: Iterable[int] | None = None) -> Iterator[Sequence[Record]]:
    """The records of this plan in some artifacts, or in all; what can't be trusted is stepped over."""
    for number in artifacts.numbers() if numbers is None else numbers:
        try:
            yield plan.own(artifacts.read(number).records)
        except FormatError:
            continue


def products_of(plan: Plan, artifacts: Artifacts, table: JobTable) -> Iterator[tuple[int, Product]]:
    """(job, product) of every product that a completed job stands for."""
    for record in _standing(plan, artifacts, table, artifacts.numbers(), {State.COMPLETED}):
        for product in record.products:
            yield record.job, product


def failures_of(plan: Plan, artifacts: Artifacts, table: JobTable) -> Iterator[Record]:
    """The record by which each job that has failed, timed out or lacks its input is so; reads only the batches that hold them."""
    concerned = set(np.unique(table.batch[np.isin(table.state, [int(state) for state in UNMET])]).tolist())
    return _standing(plan, artifacts, table, (n for n in artifacts.numbers() if n in concerned), UNMET)


def _standing(
    plan: Plan, artifacts: Artifacts, table: JobTable, numbers: Iterable[int], states: Collection[State]
) -> Iterator[Record]:
    """Records in some artifacts by which jobs are in one of `states`."""
    for records in batches_of(plan, artifacts, numbers):
        yield from (record for record in records if table.state[record.job] in states and table.stands_by(record))


Check = Callable[[Product], str]
"""What is wrong with a product on disk: empty where nothing is."""


def check_products(
    products: Iterator[tuple[int, Product]], check: Check, threads: int, told: Callable[[int, int], None]
) -> Iterator[tuple[int, Product, str]]:
    """(job, product, what is wrong) of the products that are not as recorded; `told` hears (products, bytes) so far."""
    done = size = 0
    with ThreadPoolExecutor(threads) as pool:
        while some := list(islice(products, HASHED_TOGETHER)):
            for (job, product), wrong in zip(some, pool.map(check, [p for _, p in some]), strict=True):
                done, size = done + 1, size + product.size_bytes
                if wrong:
                    yield job, product, wrong
            told(done, size)


def audit(
    plan: Plan,
    artifacts: Artifacts,
    check: Check,
    *,
    hashed: bool,
    threads: int,
    projections: Mapping[str, States],
    told: Callable[[int, int], None] = lambda *_: None,
) -> Audit:
    """Account for everything. `projections` are the states that ledger and dataset tell, (n,), by name."""
    truth = read_truth(plan, artifacts)
    table, findings = truth.table, truth.findings
    for word, states in projections.items():
        findings += _differences(plan, word, states, table.state)
    seen = [0, 0]

    def note(done: int, size: int) -> None:
        seen[:] = done, size
        told(done, size)

    bad = list(check_products(products_of(plan, artifacts, table), check, threads, note))
    findings += [Finding("product.damaged", plan.name(job), f"{product.path}: {wrong}") for job, product, wrong in bad]
    codes = Counter(table.state.tolist())
    return Audit(
        total=plan.size,
        counts={state.word: codes[state] for state in State if codes[state]},
        artifacts=truth.artifacts,
        records=truth.records,
        products=seen[0] - len(bad),
        products_bytes=seen[1] - sum(product.size_bytes for _, product, _ in bad),
        hashed=hashed,
        findings=tuple(findings),
    )


def _differences(plan: Plan, word: str, told: States, true: npt.NDArray[np.int8]) -> list[Finding]:
    """Jobs of which a projection tells another state than the committed records; the first few by name."""
    if told.shape != true.shape:
        return [Finding(f"{word}.differs", word, f"it holds {told.size} jobs, the plan {true.size}")]
    jobs = np.flatnonzero(told != true).tolist()
    if not jobs:
        return []
    some = [f"{plan.name(j)} ({State(told[j]).word}, committed as {State(true[j]).word})" for j in jobs[:5]]
    return [Finding(f"{word}.differs", word, f"{len(jobs)} jobs: {', '.join(some)}")]
