"""What a user may set for the `galaxies` generator; also its JSON Schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SYNTHETIC_SUITE = "synthetic"


class SyntheticOptions(BaseModel):
    """A synthetic halo suite, made where it is missing and written in the format of AbacusSummit."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    box_size: Annotated[float, Field(gt=0, le=4000, description="side of the periodic box, Mpc/h")] = 150.0
    cell_size: Annotated[float, Field(gt=0, description="side of a cell of the density field, Mpc/h")] = 4.0
    min_mass: Annotated[float, Field(gt=1e9, description="smallest halo mass, Msun/h")] = 5e11
    particle_mass: Annotated[float, Field(gt=0, description="mass of a particle, Msun/h")] = 2.109081520453063e9

    @model_validator(mode="after")
    def _cells_fit(self) -> SyntheticOptions:
        cells = self.box_size / self.cell_size
        if not 4 <= cells <= 1024:
            raise ValueError(f"box_size / cell_size is {cells:g}, but 4 to 1024 cells a side are possible")
        return self


GalaxyColumn = Literal[
    "position", "velocity", "log_stellar_mass", "log_sfr", "log_peak_mass", "is_central", "is_quenched", "halo_id"
]
HaloColumn = Literal["position", "velocity", "mass", "id"]


class ColumnsOptions(BaseModel):
    """The columns that catalogues have; what is measured does not depend on it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    galaxies: Annotated[list[GalaxyColumn], Field(min_length=1, description="of the galaxies")] = list(
        get_args(GalaxyColumn)
    )
    halos: Annotated[list[HaloColumn], Field(description="of their hosts; may be none")] = list(get_args(HaloColumn))


Quantity = Literal["mass_functions", "star_formation", "relations", "power_spectrum", "correlation_function"]


class ClusteringOptions(BaseModel):
    """How clustering is measured, on a mesh, in redshift space along the third axis."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    mesh: Annotated[int | None, Field(ge=16, le=1024, description="cells a side; unset: as many as k_max asks for")] = (
        None
    )
    k_max: Annotated[float, Field(gt=0, le=5, description="largest wave number, h/Mpc")] = 0.3
    k_step: Annotated[float | None, Field(gt=0, description="width of a bin; unset: two fundamental modes")] = None
    s_max: Annotated[
        float | None, Field(gt=0, description="largest separation, Mpc/h; unset: a quarter of the box, at most 150")
    ] = None
    s_step: Annotated[float | None, Field(gt=0, description="width of a bin; unset: a twelfth")] = None
    multipoles: Annotated[list[Literal[0, 2, 4]], Field(min_length=1)] = [0, 2, 4]


class SampleOptions(BaseModel):
    """Galaxies above a threshold, the same for all realizations."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    column: Literal["log_stellar_mass", "log_sfr"] = "log_stellar_mass"
    above: Annotated[float, Field(description="in the units of the column")]


class MeasurementOptions(BaseModel):
    """What is measured of each catalogue beside its counts; may change: `campaign measure` fills in what is missing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    quantities: Annotated[list[Quantity], Field(description="what is measured")] = list(get_args(Quantity))
    clustering: ClusteringOptions = ClusteringOptions()
    samples: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")], SampleOptions],
        Field(description="whose number and clustering are measured as well"),
    ] = {}
    box_size: Annotated[float | None, Field(gt=0, description="side of the box, Mpc/h; unset: that of the suite")] = (
        None
    )


class GalaxiesOptions(BaseModel):
    """Options of the `galaxies` generator. Masses are in Msun/h, as in the halo catalogues, unless said otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    galaxy_model: Annotated[
        str,
        Field(
            pattern=r"^(diffsky|rgrspit_diffsky)(_v[0-9][0-9A-Za-z.]*)?$",
            description="`diffsky` (built in), or `rgrspit_diffsky...` where that package is installed",
        ),
    ] = "diffsky"
    simulation_suite: Annotated[
        str,
        Field(
            pattern=r"^(synthetic|AbacusSummit(_[A-Za-z0-9]+)?)$",
            description="`synthetic`, or a suite of AbacusSummit such as `AbacusSummit_small`",
        ),
    ] = SYNTHETIC_SUITE
    simulation_root: Annotated[
        str,
        Field(min_length=1, validate_default=True, description="directory that holds the simulations"),
        AfterValidator(lambda path: str(Path(path).expanduser().absolute())),
    ] = "inputs"
    cosmology: Annotated[str, Field(pattern=r"^c\d{3}$", description="AbacusSummit cosmology")] = "c000"
    first_phase: Annotated[
        int | None,
        Field(
            ge=0,
            description="phase of realization 0; realization r has this plus r; 3000 in AbacusSummit_small, else 0",
        ),
    ] = None
    cleaned: Annotated[bool, Field(description="read the cleaned halo catalogues")] = True
    min_mass: Annotated[float, Field(gt=0, description="smallest host halo mass, Msun/h")] = 1e12
    n_gen: Annotated[int | None, Field(ge=1, description="test mode: use this many haloes only")] = None
    log_subhalo_mass_min: Annotated[
        float, Field(ge=9, le=15, description="log10 of the smallest subhalo peak mass, Msun")
    ] = 11.0
    mass_unit: Annotated[
        Literal["Msun", "Msun/h"],
        Field(description="unit in which masses enter the model; `Msun/h` repeats the reference pipeline's convention"),
    ] = "Msun"
    compression: Annotated[
        Literal["zstd", "gzip", "lzf", "none"], Field(description="HDF5 filter of the catalogues; all are lossless")
    ] = "zstd"
    columns: ColumnsOptions = ColumnsOptions()
    measurements: MeasurementOptions = MeasurementOptions()
    collective_write: Annotated[
        bool | None,
        Field(description="several ranks write one file together; unset: where h5py was built for it"),
    ] = None
    synthetic: SyntheticOptions = SyntheticOptions()

    @model_validator(mode="after")
    def _fits_together(self) -> GalaxiesOptions:
        if self.simulation_suite == SYNTHETIC_SUITE and self.cosmology != "c000":
            raise ValueError("the synthetic suite has the cosmology c000 only")
        return self
