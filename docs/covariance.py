"""The cells of docs/covariance.ipynb, and what makes it anew: python docs/covariance.py (after campaign run configs/covariance.yaml).

Needs the `test` extra. The notebook is executed and kept with what it printed and drew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CELLS = [
    """# From mocks to a covariance matrix

The dataset of `configs/covariance.yaml`: 200 small mocks at two redshifts, each measured while it was in memory. `campaign run configs/covariance.yaml` makes it; any other campaign of `galaxies` will do.""",
    """
path = "campaigns/v1.0_covariance/results.zarr"
""",
    """
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import campaign.analyse.accessor  # gives every dataset `.campaign`

ds = xr.open_zarr(path)
ds.campaign.members("power_spectrum").load()
""",
    """## The power spectrum

Multipoles in redshift space, shot noise subtracted. Lines are means over the ensemble, bands the scatter of the members.""",
    """
power = ds.campaign.values("power_spectrum").sel(ell=0).load()
mean, scatter = ds.campaign.mean("power_spectrum").where(lambda x: x.ell == 0, drop=True), power.std("realization")

figure, panel = plt.subplots(figsize=(6, 4))
for n, z in enumerate(ds.redshift.values):
    panel.errorbar(power.k * (1 + 0.01 * n), mean.sel(redshift=z), scatter.sel(redshift=z), fmt="o-", label=f"z = {z:g}")
panel.set(xlabel="k [h/Mpc]", ylabel="$P_0$ [(Mpc/h)$^3$]", yscale="log")
panel.legend();
""",
    """## Its covariance

One matrix for each redshift. Elements of the data vector keep their coordinates; `members` says how many mocks went in.""",
    """
from campaign.analyse import condition_number, correlation, covariance

cov = covariance(power, along=["k"])
cov
""",
    """
figure, panels = plt.subplots(1, len(cov.redshift), figsize=(9, 4), layout="constrained", squeeze=False)
for panel, z in zip(panels[0], cov.redshift.values):
    image = panel.pcolormesh(cov.k, cov.k_2, correlation(cov).sel(redshift=z), vmin=-1, vmax=1, cmap="RdBu_r")
    panel.set(title=f"correlation of $P_0$, z = {z:g}", xlabel="k [h/Mpc]", ylabel="k [h/Mpc]", aspect="equal")
figure.colorbar(image, ax=panels);
""",
    """Neighbouring bins are correlated by the non-linear density of the mocks: by how much, and is that more than noise?""",
    """
off = correlation(cov).where(cov.k != cov.k_2)
print(f"mean correlation of two bins: {float(off.mean()):.3f}; of uncorrelated ones it would be 0 +- {1 / np.sqrt(int(cov.members.min())):.3f} for each pair")
print("condition number:", condition_number(cov).round(1).values)
""",
    """## Are there enough mocks?

The inverse of a noisy covariance is biased, and the errors of whatever is fitted with it grow: Hartlap's and Percival's factors say by how much. The matrix itself settles as that of Gaussian members does, or more slowly.""",
    """
from campaign.analyse import covariance_convergence, hartlap_factor, percival_factor, precision

n, p = int(cov.members.min()), cov.sizes["k"]
print(f"{n} mocks, {p} elements: Hartlap {hartlap_factor(n, p):.3f}, Percival for two parameters {percival_factor(n, p, 2):.3f}")
psi = precision(cov)

found = covariance_convergence(power, along=["k"])
figure, panel = plt.subplots(figsize=(6, 4))
for z in found.redshift.values:
    line, = panel.loglog(found.members[:-1], found.distance.sel(redshift=z)[:-1], "o-", label=f"z = {z:g}")
    panel.loglog(found.members[:-1], found.expected.sel(redshift=z)[:-1], ":", color=line.get_color())
panel.set(xlabel="mocks", ylabel="distance from the covariance of all")
panel.legend(title="dotted: Gaussian members");
""",
    """## A sample by number density

The threshold is that of the ensemble, one for all mocks: a threshold of each mock's own would take out part of the variance.""",
    """
density = float(ds.campaign.mean("sfr_cumulative").isel(sfr_threshold=12).min()) / 2
ds.campaign.threshold("sfr_cumulative", density)
""",
]


def notebook(path: str | None = None) -> Any:
    """The notebook, not executed; of the dataset at `path`, if that is given."""
    import nbformat.v4 as nb

    made = nb.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for number, text in enumerate(CELLS):
        new = nb.new_code_cell if text.startswith("\n") else nb.new_markdown_cell
        given = f"path = {path!r}" if path is not None and text.startswith("\npath =") else text.strip("\n")
        made.cells.append(new(given, id=f"cell-{number:02d}"))
    return made


def execute(made: Any, where: Path) -> Any:
    """With what its cells print and draw; raises where one fails."""
    from nbclient import NotebookClient

    return NotebookClient(made, timeout=300, resources={"metadata": {"path": str(where)}}).execute()


def main() -> int:
    """Make it anew, in the directory in which the campaign was run."""
    import nbformat

    made = execute(notebook(), Path.cwd())
    for cell in made.cells:
        cell.metadata.pop("execution", None)  # when it was run
    nbformat.write(made, HERE / "covariance.ipynb")
    return 0


if __name__ == "__main__":
    sys.exit(main())
