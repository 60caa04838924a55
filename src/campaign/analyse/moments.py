"""Moments of an ensemble of labelled arrays: means, covariances and what follows from them, by mask and lazily.

`values` has a dimension `over` along which members differ (realizations), dimensions `along` of the data vector (k, multipole), and any others,
which are looked at one by one (redshift). A member all of whose vector is missing is absent and is left out; what is left out is counted in the
coordinate `members`. A member of which only a part is missing is a gap, and is refused unless the caller says what to do about it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from campaign.errors import Code, UsageError

if TYPE_CHECKING:
    import xarray

OTHER = "_2"
"""Ends the name of the second of two dimensions that are alike."""

BIN = "bin"
"""Dimension of a data vector that runs along several."""

Gaps = Literal["raise", "members", "bins"]


def vectors(
    values: xarray.DataArray, over: str = "realization", along: Sequence[str] | None = None, gaps: Gaps = "raise"
) -> tuple[xarray.DataArray, xarray.DataArray]:
    """(data vectors, which members are there).

    The vectors have the dimensions (others..., `over`, vector); one that runs along several dimensions is called `bin` and has them as
    coordinates. What is there has (others..., `over`). `along` is every dimension but `over` and those of the design that are left,
    `redshift` among them, unless it is given. UsageError where a member has gaps and `gaps` is `raise`; `members` leaves such members out,
    `bins` leaves out the elements of the vector that some member lacks.
    """
    vector = _stacked(values, over, _along(values, over, along))
    name = str(vector.dims[-1])
    finite = vector.notnull()
    there = finite.any(name)
    whole = finite.all(name)
    gapped = there & ~whole
    if gaps == "members":
        return vector, whole.compute()
    count = int(gapped.sum())
    if count and gaps == "bins":
        kept = (finite | ~there).all([dim for dim in vector.dims if dim != name]).compute()
        if not kept.any():
            raise UsageError(
                Code.CONFIG_INVALID,
                f"every element of {_said(values)} is missing in some member",
                action="use gaps='members'",
            )
        return vector.isel({name: np.flatnonzero(kept.to_numpy())}), there.compute()
    if count:
        lacking = int((~(finite | ~there)).any([dim for dim in vector.dims if dim != name]).sum())
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{count} members of {_said(values)} lack a part of it ({lacking} of {vector.sizes[name]} elements are missing somewhere)",
            action="select the elements that all have, or use gaps='bins' (leave out such elements) or gaps='members' (such members)",
        )
    return vector, there.compute()


def n_members(
    values: xarray.DataArray, over: str = "realization", along: Sequence[str] | None = None
) -> xarray.DataArray:
    """How many members are there, for each point of the other dimensions; gaps count as there."""
    vector = _stacked(values, over, _along(values, over, along))
    return vector.notnull().any(str(vector.dims[-1])).sum(over)


def mean(
    values: xarray.DataArray, over: str = "realization", along: Sequence[str] | None = None, gaps: Gaps = "raise"
) -> xarray.DataArray:
    """Mean over the members that are there; missing where there is none."""
    vector, there = vectors(values, over, along, gaps)
    count = there.sum(over)
    total = vector.where(there, 0).sum(over)
    return _labelled(total / count.where(count > 0), values, count, "mean")


def covariance(
    values: xarray.DataArray, over: str = "realization", along: Sequence[str] | None = None, gaps: Gaps = "raise"
) -> xarray.DataArray:
    """Sample covariance of the data vector, n - 1 in the denominator: (others..., vector, vector_2).

    UsageError where fewer than two members are there at one of the other points.
    """
    vector, there = vectors(values, over, along, gaps)
    count = there.sum(over)
    _refuse_few(count, values, 2)
    name = str(vector.dims[-1])
    off = (vector - vector.where(there).mean(over)).where(there, 0)
    product = off.dot(_twin(off, name), dim=over)
    return _labelled(product / (count - 1), values, count, "covariance", square=True)


def correlation(matrix: xarray.DataArray) -> xarray.DataArray:
    """The correlation matrix of a covariance matrix; missing where a variance is zero."""
    first, second = matrix.dims[-2:]
    sigma = diagonal(matrix) ** 0.5
    found = matrix / (sigma.where(sigma > 0) * _twin(sigma.where(sigma > 0), str(first)))
    return found.transpose(*matrix.dims).assign_attrs(units="1", long_name=f"correlation ({first}, {second})")


def diagonal(matrix: xarray.DataArray) -> xarray.DataArray:
    """The variances of a covariance matrix: (others..., vector)."""
    first, second = matrix.dims[-2:]
    import xarray

    lean = matrix.drop_vars([name for name, coord in matrix.coords.items() if second in coord.dims])
    found: xarray.DataArray = xarray.apply_ufunc(
        lambda m: np.diagonal(m, axis1=-2, axis2=-1), lean, input_core_dims=[[first, second]],
        output_core_dims=[[first]], dask="allowed",
    )  # fmt: skip
    return found


def precision(matrix: xarray.DataArray, *, debiased: bool = True) -> xarray.DataArray:
    """Inverse of a covariance matrix that was made by `covariance`, times the factor of Hartlap, Simon and Schneider (2007) if `debiased`.

    UsageError where the matrix can't be inverted: with as many members as elements, or fewer.
    """
    first, second = map(str, matrix.dims[-2:])
    length = matrix.sizes[first]
    count = matrix.coords["members"]
    if int(count.min()) <= length + 2:
        raise UsageError(
            Code.CONFIG_INVALID,
            f"a covariance of {length} elements from {int(count.min())} members has no inverse that could be trusted",
            action=f"make more than {length + 2} realizations, or select fewer elements",
        )
    import xarray

    found: xarray.DataArray = xarray.apply_ufunc(
        _inverse, matrix.compute(), input_core_dims=[[first, second]], output_core_dims=[[first, second]]
    )
    if debiased:
        found = found * hartlap_factor(count, length)
    units = matrix.attrs.get("units", "1")
    return found.assign_attrs(units="1" if units == "1" else f"({units})-1", long_name="precision")


def _inverse(matrix: Any) -> Any:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError as error:
        raise UsageError(
            Code.CONFIG_INVALID, f"a covariance is singular: {error}", action="leave out elements that never vary"
        ) from error


def condition_number(matrix: xarray.DataArray) -> xarray.DataArray:
    """Ratio of the largest to the smallest eigenvalue of the correlation matrix, which knows no units: (others...)."""
    import xarray

    found: xarray.DataArray = xarray.apply_ufunc(
        np.linalg.cond, correlation(matrix).compute(), input_core_dims=[list(matrix.dims[-2:])]
    )
    return found.assign_attrs(units="1", long_name="condition number of the correlation matrix")


def hartlap_factor(members: Any, elements: int) -> Any:
    """(n - p - 2) / (n - 1): makes the inverse of a sample covariance unbiased (Hartlap, Simon and Schneider, A&A 464, 399, 2007, eq. 17)."""
    return (members - elements - 2) / (members - 1)


def percival_factor(members: Any, elements: int, parameters: int) -> Any:
    """By how much the covariance of fitted parameters grows since the data covariance is noisy (Percival et al., MNRAS 439, 2531, 2014, eq. 18).

    `members` n, `elements` p of the data vector, `parameters` m that are fitted with a precision matrix that Hartlap's factor corrects.
    """
    n, p, m = members, elements, parameters
    a = 2 / ((n - p - 1) * (n - p - 4))
    b = (n - p - 2) / ((n - p - 1) * (n - p - 4))
    return (1 + b * (p - m)) / (1 + a + b * (m + 1))


def covariance_error(matrix: xarray.DataArray) -> xarray.DataArray:
    """Standard error of each element of a sample covariance of Gaussian members: sqrt((C_ij^2 + C_ii C_jj) / (n - 1)), after Wishart (1928)."""
    first, _ = map(str, matrix.dims[-2:])
    variances = diagonal(matrix)
    found: xarray.DataArray = (
        (matrix**2 + variances * _twin(variances, first)) / (matrix.coords["members"] - 1)
    ) ** 0.5
    return found.transpose(*matrix.dims).assign_attrs(units=matrix.attrs.get("units", "1"))


def covariance_convergence(
    values: xarray.DataArray,
    over: str = "realization",
    along: Sequence[str] | None = None,
    gaps: Gaps = "raise",
    *,
    sizes: Sequence[int] = (),
) -> xarray.Dataset:
    """How the covariance settles with more members, in their order: `distance` and `expected` along `members`, for each other point.

    `distance` is that of the covariance of the first n members from that of all, ||C_n - C|| / ||C|| in the Frobenius norm of correlations;
    `expected` is what Gaussian members have on average, sqrt((p^2 + sum of squared correlations) (1/(n - 1) - 1/(N - 1))) over the same norm,
    from the variance of `covariance_error` and since the first n are among the N.
    """
    import xarray

    vector, there = vectors(values, over, along, gaps)
    total = there.sum(over)
    _refuse_few(total, values, 4)
    smallest = int(total.min())
    chosen = sizes or np.unique(np.geomspace(max(4, smallest // 50), smallest, 12).astype(int)).tolist()
    name = str(vector.dims[-1])
    rows = vector.transpose(..., over, name).compute()
    found = xarray.apply_ufunc(
        _settling, rows, there, input_core_dims=[[over, name], [over]], output_core_dims=[["n", "kind"]],
        kwargs={"sizes": np.asarray(chosen)}, vectorize=True,
    ).assign_coords(n=("n", list(chosen)))  # fmt: skip
    found = found.rename(n="members")
    return xarray.Dataset({"distance": found.isel(kind=0), "expected": found.isel(kind=1)})


def _settling(rows: Any, there: Any, sizes: Any) -> Any:
    rows = rows[there]
    whole = np.cov(rows, rowvar=False).reshape(rows.shape[1], rows.shape[1])
    sigma = np.sqrt(np.diag(whole))
    sigma[sigma == 0] = 1
    scaled = (rows - rows.mean(axis=0)) / sigma
    final = np.atleast_2d(np.cov(scaled, rowvar=False))
    norm = np.linalg.norm(final)
    spread = np.sqrt(len(final) ** 2 + (final**2).sum()) if len(final) else 0.0
    out = []
    for size in sizes:
        some = np.atleast_2d(np.cov(scaled[:size], rowvar=False))
        expected = spread / norm * np.sqrt(max(1 / (size - 1) - 1 / (len(rows) - 1), 0))
        out.append([np.linalg.norm(some - final) / norm, expected])
    return np.asarray(out)


def _along(values: xarray.DataArray, over: str, along: Sequence[str] | None) -> list[str]:
    dims = [str(dim) for dim in values.dims]
    if over not in dims:
        raise UsageError(
            Code.CONFIG_INVALID, f"{_said(values)} has no dimension {over!r}", action=f"name one of: {', '.join(dims)}"
        )
    if along is None:
        design = values.attrs.get(DESIGN)
        outside = set(design.split()) if isinstance(design, str) else {"realization", "redshift"}
        return [dim for dim in dims if dim != over and dim not in outside]
    unknown = [name for name in along if name not in dims or name == over]
    if unknown:
        others = [dim for dim in dims if dim != over]
        raise UsageError(
            Code.CONFIG_INVALID,
            f"{_said(values)} has no dimension {unknown[0]!r} for a data vector",
            action=f"name some of: {', '.join(others) or 'it is a scalar'}",
        )
    return list(along)


DESIGN = "campaign_design"
"""Attribute of a variable: the dimensions of the design, by which jobs differ."""


def _stacked(values: xarray.DataArray, over: str, along: Sequence[str]) -> xarray.DataArray:
    """(others..., over, vector)."""
    values = values.astype(np.float64, copy=False) if values.dtype != np.float64 else values
    if not along:
        return values.expand_dims({BIN: 1}, axis=-1).transpose(..., over, BIN)
    if len(along) == 1:
        return values.transpose(..., over, along[0])
    coords = {name: values.coords[name] for name in along if name in values.coords}
    stacked = values.stack({BIN: list(along)}, create_index=False).transpose(..., over, BIN)
    for name, coord in coords.items():
        if name not in stacked.coords:
            grid = coord.broadcast_like(values.isel({d: 0 for d in values.dims if d not in along}, drop=True))
            stacked = stacked.assign_coords(
                {name: (BIN, grid.stack({BIN: list(along)}, create_index=False).to_numpy())}
            )
    return stacked


def _twin(values: xarray.DataArray, name: str) -> xarray.DataArray:
    """The same with every name of the vector's dimension changed, so that it can be multiplied with itself."""
    renamed: dict[Hashable, str] = {coord: f"{coord}{OTHER}" for coord, c in values.coords.items() if name in c.dims}
    return values.rename({**renamed, name: f"{name}{OTHER}"})


def _labelled(
    found: xarray.DataArray, values: xarray.DataArray, count: xarray.DataArray, what: str, *, square: bool = False
) -> xarray.DataArray:
    units = str(values.attrs.get("units", "1"))
    if square and units != "1":
        units = f"({units})2"
    said = values.attrs.get("long_name", values.name or "values")
    return (
        found.assign_coords(members=count).assign_attrs(units=units, long_name=f"{what} of {said}").rename(values.name)
    )


def _refuse_few(count: xarray.DataArray, values: xarray.DataArray, least: int) -> None:
    if int(count.min()) >= least:
        return
    few = count.where(count < least, drop=True) if count.ndim else count
    at = ", ".join(f"{dim} {', '.join(map(str, few.coords[dim].to_numpy()[:3].tolist()))}" for dim in few.dims)
    raise UsageError(
        Code.CONFIG_INVALID,
        f"{int(count.min())} members of {_said(values)} are there{f' at {at}' if at else ''}; this needs {least}",
        action="run more of the campaign, or select where there are enough",
    )


def _said(values: xarray.DataArray) -> str:
    return repr(str(values.name)) if values.name else "the values"
