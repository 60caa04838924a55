import re

import numpy as np


def cutoff(directory, parameters):
    """Frequency at which the output of a circuit is 3 dB down, Hz."""
    head, _, body = (directory / "rc.raw").read_bytes().partition(b"Binary:\n")
    names = re.findall(r"^\t\d+\t(\S+)", head.decode(), re.MULTILINE)
    values = np.frombuffer(body, complex).reshape(-1, len(names))
    gain = np.abs(values[:, names.index("v(out)")])
    return float(np.interp(-np.sqrt(0.5), -gain, values[:, 0].real))
