"""Where heavy work runs: in this process, or on Ray Serve."""
