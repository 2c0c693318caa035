"""Who may call what."""

from __future__ import annotations

from collections.abc import Mapping

from assay.errors import PermissionDenied

ANYONE = "*"


class AllowList:
    """Identities by full method name; the most specific entry decides.

    Keys: "/package.Service/Method", "/package.Service/*" or "*". Values: identities, or "*" for anyone whom the
    transport admits. Without any entry everyone admitted may call everything.
    """

    def __init__(self, entries: Mapping[str, tuple[str, ...]]) -> None:
        self._entries = {key: frozenset(identities) for key, identities in entries.items()}

    def identities(self, method: str) -> frozenset[str]:
        """Who may call `method`; looked up once, when the server is built."""
        if not self._entries:
            return frozenset({ANYONE})
        service = method.rpartition("/")[0] + "/*"
        for key in (method, service, "*"):
            if key in self._entries:
                return self._entries[key]
        return frozenset()


def check_allowed(caller: str, allowed: frozenset[str], method: str) -> None:
    if caller not in allowed and ANYONE not in allowed:
        raise PermissionDenied(
            f"{caller} may not call {method}; ask whoever runs this service to add it to the allow list",
            reason="CALLER_NOT_ALLOWED",
        )
