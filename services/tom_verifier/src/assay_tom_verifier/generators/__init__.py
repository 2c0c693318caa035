"""Adapters of the port `core.traces.writer`: who writes candidate traces, and how they are asked."""
