"""Language models behind one port: local checkpoints, inspected before a byte of them is trusted."""
