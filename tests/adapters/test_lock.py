import os
import subprocess
import sys

import pytest

from campaign.adapters.lock import CampaignLock, holder
from campaign.errors import LockedError


def test_only_one_holds_and_the_other_is_told_who(tmp_path):
    assert holder(tmp_path) is None
    lock = CampaignLock(tmp_path)
    assert holder(tmp_path)["pid"] == os.getpid()
    with pytest.raises(LockedError, match=f"process {os.getpid()} on ") as caught:
        CampaignLock(tmp_path)
    assert caught.value.exit_code == 5
    lock.release()
    assert holder(tmp_path) is None
    CampaignLock(tmp_path).release()


def test_a_killed_holder_leaves_no_lock(tmp_path):
    program = "import os, sys; from pathlib import Path; from campaign.adapters.lock import CampaignLock; CampaignLock(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert holder(tmp_path) is None
    CampaignLock(tmp_path).release()
