"""Talking to the platform: connections, remote artifacts, waiting for operations."""

from assay.client.connection import Connection, connect

__all__ = ["Connection", "connect"]
