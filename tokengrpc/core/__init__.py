"""The core: values, rules and state machines without I/O, and the ports to everything else."""
