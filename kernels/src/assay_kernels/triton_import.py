"""Triton, or a stand-in that lets the files with its kernels be imported where it is not installed."""

from __future__ import annotations

from types import ModuleType
from typing import Any


class _Absent:
    """Takes a kernel's decorator and annotations; choose() sees to it that nothing is launched."""

    constexpr = object

    @staticmethod
    def jit(kernel: Any) -> Any:
        return kernel


def _import() -> tuple[ModuleType | _Absent, ModuleType | _Absent]:
    try:
        import triton
        import triton.language
    except ImportError:
        return _Absent(), _Absent()
    return triton, triton.language


triton: Any
tl: Any
triton, tl = _import()
