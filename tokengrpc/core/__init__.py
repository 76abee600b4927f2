"""The core: values, rules and state machines without I/O, and the ports to everything else."""

from tokengrpc.extras import require

# All modules of the server import the core, the plugin API included.
require("server", "the server")
