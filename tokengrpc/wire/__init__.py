"""Domain ⇄ protobuf and errors ⇄ statuses: one table per mapping, nothing else."""
