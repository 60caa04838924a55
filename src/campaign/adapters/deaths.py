"""How a slot process ended, and who is to blame."""

from __future__ import annotations

import re
import signal

from campaign.core.model import Failure
from campaign.errors import Code

_RANK_ENDED = re.compile(r"tasks? [\d,-]+: (.+)|EXIT STRING: (.+)|EXIT CODE: (\d+)")
"""How `srun` and MPICH's `mpiexec` say how a rank ended."""

_FROM_OUTSIDE = ("Killed", "Terminated", "Out Of Memory", "EXIT CODE: 9", "EXIT CODE: 15", "EXIT CODE: 0")


def death(status: int, *, ranks: int = 1, said: str = "") -> Failure:
    """Who is to blame for a slot server that died under a job: SIGKILL and SIGTERM come from outside, the rest from it."""
    if ranks > 1:
        return _death_of_ranks(status, said)
    outside = status in (-signal.SIGKILL, -signal.SIGTERM)
    code = Code.SLOT_KILLED if outside else Code.SLOT_CRASHED
    name = signal.Signals(-status).name if status < 0 else "SystemExit"
    return Failure(name, code, f"the slot process ended with {_ending(status)}", blames_job=not outside)


def _death_of_ranks(status: int, said: str) -> Failure:
    """A rank that dies takes the others along, by SIGKILL or SIGTERM: only what the launcher says tells which was first.

    Where every rank was killed or terminated the batch system did it, or a person.
    """
    ends = [match.group().strip() for line in said.splitlines() if (match := _RANK_ENDED.search(line))]
    own = [end for end in ends if not any(word in end for word in _FROM_OUTSIDE)]
    if own:
        return Failure("RankDied", Code.SLOT_CRASHED, f"a rank ended: {own[0]}", blames_job=True)
    if not ends and 0 < status < 128 and status not in (signal.SIGKILL, signal.SIGTERM):
        return Failure("RankDied", Code.SLOT_CRASHED, f"a rank ended: exit status {status}", blames_job=True)
    last = said.splitlines()[-1] if said else f"exit status {status}"
    return Failure("RanksKilled", Code.SLOT_KILLED, f"the ranks were ended from outside: {last}", blames_job=False)


def _ending(status: int) -> str:
    return f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"


def unready(why: str) -> Failure:
    """A slot that does not come up is nobody's fault among the jobs."""
    return Failure("SlotUnready", Code.SLOT_UNREADY, why, phase="warm_up", blames_job=False)
