"""A run to look at that holds still until a test moves it."""

import numpy as np

from campaign.core.model import Axis, State
from campaign.errors import Code, UsageError
from campaign.ports import Look, NodeLook, Progress

AXES = (Axis("realization", tuple(range(2000))), Axis("redshift", tuple(n / 10 for n in range(20))))


class Scene:
    """Implements `ports.Scene`."""

    title = "v1.0 <roman>"
    now_s = 0.0

    def __init__(self, axes=AXES):
        self.axes, self.rates = axes, [(1.0, 2.0)]
        self.states = np.zeros(int(np.prod([len(axis.values) for axis in axes])), np.int8)
        self.troubles, self.nodes = [], [NodeLook("nid01", 64, 32, 5, 1, (2**34, 2**38))]

    def look(self):
        counts = {state: int((self.states == state).sum()) for state in State}
        progress = Progress(counts, self.states.size, 7, 12.0, 0.5, 3600.0, 64, False, (), 1, 1800.0)
        return Look(progress, self.states.copy(), self.nodes, self.troubles, {"load": 0.5, "compute": 2.0}, 2**30)

    def find(self, text):
        if not text.isdecimal():
            raise UsageError(Code.JOB_UNKNOWN, f"there is no job {text!r}", action="name another")
        return int(text)

    def tell(self, job):
        return [f"job {job} is told <of>"]
