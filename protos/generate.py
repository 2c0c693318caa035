"""Writes the Python stubs, with type information, of every proto here into shared/assay/.

`python protos/generate.py` rewrites them; `--check` only says whether they are what the protos give.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

import google.rpc
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS.parent / "shared"
CORE_API = ("annotations", "client", "field_behavior", "http", "launch_stage")
STUB_PATTERNS = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py")


def write_imports(destination: Path) -> None:
    """Google's protos that ours import, under the names the rest of the world knows them by.

    googleapis-common-protos ships operations.proto as operations_proto.proto; its Python module registers
    it under the usual name.
    """
    common = Path(next(iter(google.rpc.__path__))).parent.parent
    for package, names in {"rpc": ("status",), "longrunning": ("operations_proto",), "api": CORE_API}.items():
        for name in names:
            target = destination / "google" / package / f"{name.removesuffix('_proto')}.proto"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(common / "google" / package / f"{name}.proto", target)


def generate(destination: Path) -> list[Path]:
    """Stubs of all protos under `destination`; returns their paths relative to it."""
    with tempfile.TemporaryDirectory() as imports:
        write_imports(Path(imports))
        arguments = ["protoc", f"-I{PROTOS}", f"-I{imports}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
        arguments += [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
        arguments += sorted(str(p.relative_to(PROTOS)) for p in PROTOS.rglob("*.proto"))
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed; its message stands above")
    return sorted(p.relative_to(destination) for pattern in STUB_PATTERNS for p in destination.rglob(pattern))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where the stubs are stale")
    parser.add_argument("--imports", type=Path, metavar="DIR", help="only write Google's protos there, for buf")
    arguments = parser.parse_args()
    if arguments.imports:
        write_imports(arguments.imports)
        return
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        stubs = generate(fresh)
        committed = {p.relative_to(STUBS) for pattern in STUB_PATTERNS for p in STUBS.rglob(pattern)}
        stale = sorted(committed - set(stubs)) + [
            p for p in stubs if not (STUBS / p).exists() or not filecmp.cmp(fresh / p, STUBS / p, shallow=False)
        ]
        if arguments.check:
            if stale:
                sys.exit("stale stubs, run `make proto`: " + ", ".join(map(str, stale)))
            return
        for path in committed - set(stubs):
            (STUBS / path).unlink()
        for path in stubs:
            target = STUBS / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fresh / path, target)
            for folder in (target.parent, target.parent.parent):  # one without __init__ can vanish from a wheel
                (folder / "__init__.py").touch()


if __name__ == "__main__":
    main()
