"""What the steps need from the world, as protocols; `testing` holds the contract suite of each."""

from campaign.ports.cluster import Cluster, Event, JobEnded, JobStarted, LeaseLost, LeaseReturned, NodeJoined, NodeLost
from campaign.ports.generator import (
    Expected,
    Expecting,
    Filing,
    Generator,
    Preloading,
    Producing,
    Reading,
    Rendering,
    Staged,
)
from campaign.ports.progress import Audience, Look, Nobody, NodeLook, Progress, Scene, Trouble
from campaign.ports.slots import Clock, Journal, Launcher, Process, Supervisor
from campaign.ports.storage import Artifacts, Batch, Begun, Commit, Committer, Journals, Ledger, ResultStore

__all__ = [
    "Artifacts",
    "Audience",
    "Batch",
    "Begun",
    "Clock",
    "Cluster",
    "Commit",
    "Committer",
    "Event",
    "Expected",
    "Expecting",
    "Filing",
    "Generator",
    "JobEnded",
    "JobStarted",
    "Journal",
    "Journals",
    "Launcher",
    "LeaseLost",
    "LeaseReturned",
    "Ledger",
    "Look",
    "Nobody",
    "NodeJoined",
    "NodeLook",
    "NodeLost",
    "Preloading",
    "Process",
    "Producing",
    "Progress",
    "Reading",
    "Rendering",
    "ResultStore",
    "Scene",
    "Staged",
    "Supervisor",
    "Trouble",
]
