"""SLURM: what an allocation is, the steps in it, and the batch jobs that bring new ones."""
