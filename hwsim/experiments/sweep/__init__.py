"""Studies: grids of measurements, run in any order by any number of processes."""
