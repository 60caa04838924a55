"""The pure heart: values, identity, designs and the life of a job. Standard library and numpy only; no I/O, no clock."""
