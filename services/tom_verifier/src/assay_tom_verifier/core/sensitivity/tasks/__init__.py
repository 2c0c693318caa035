"""Tasks written for this project: unexpected contents, unexpected transfer, irony, and two probes beside them."""
