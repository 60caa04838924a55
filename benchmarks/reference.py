"""rgrspit_diffsky on given hosts, in an environment that has it: python reference.py HOSTS.npz [REPEATS]; used by galaxies.py

Prints the galaxies of one mock and the seconds that each of REPEATS took, the first with its compilation, as JSON. Each
has the same seed: another one has another number of satellites, for which it would compile anew.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main() -> None:
    """Measure `mc_galpop_synthetic_subs`."""
    import jax
    from dsps.cosmology import DEFAULT_COSMOLOGY
    from rgrspit_diffsky.mc_galpop import mc_galpop_synthetic_subs

    hosts, repeats = np.load(sys.argv[1]), int([*sys.argv, 1][2])
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        made = mc_galpop_synthetic_subs(
            jax.random.key(0), hosts["log_mass"], hosts["radius"], hosts["position"], hosts["velocity"],
            float(hosts["redshift"]), 11.0, DEFAULT_COSMOLOGY, float(hosts["box_size"]),
        )  # fmt: skip
        jax.block_until_ready(made)
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"galaxies": len(made["upid"]), "seconds": seconds}))


if __name__ == "__main__":
    main()
