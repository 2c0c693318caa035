"""Writes what is made of the protos: Python stubs, with type information, and the list of methods a mesh may retry.

Stubs go into shared/assay/, the list into the chart. `python protos/generate.py` rewrites both; `--check` only says
whether they are what the protos give.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import sys
import tempfile
from pathlib import Path

import google.rpc
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto, MethodOptions
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
STUBS = PROTOS.parent / "shared"
IDEMPOTENT = PROTOS.parent / "charts/assay/files/idempotent.json"
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


def generate(destination: Path) -> tuple[list[Path], str]:
    """Stubs of all protos under `destination`: their paths relative to it, and the text of IDEMPOTENT."""
    with tempfile.TemporaryDirectory() as imports:
        write_imports(Path(imports))
        arguments = ["protoc", f"-I{PROTOS}", f"-I{imports}", f"-I{Path(protoc.__file__).parent / '_proto'}"]
        arguments += [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
        described = Path(imports) / "described.binpb"
        arguments += [f"--descriptor_set_out={described}", "--include_imports"]
        arguments += sorted(str(p.relative_to(PROTOS)) for p in PROTOS.rglob("*.proto"))
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed; its message stands above")
        methods = idempotent_methods(FileDescriptorSet.FromString(described.read_bytes()))
    stubs = sorted(p.relative_to(destination) for pattern in STUB_PATTERNS for p in destination.rglob(pattern))
    return stubs, json.dumps(methods, indent=1) + "\n"


def idempotent_methods(described: FileDescriptorSet) -> dict[str, list[str]]:
    """By service, the methods that may be called again when nobody knows whether the first call was answered.

    Those whose proto says so by `idempotency_level`, or, as Google's do, by being a GET of HTTP; of these the unary
    ones, since a proxy that repeats a stream repeats a part of it.
    """
    found = {
        f"{file.package}.{service.name}": [method.name for method in service.method if _may_be_repeated(method)]
        for file in described.file
        for service in file.service
    }
    return {service: sorted(methods) for service, methods in sorted(found.items()) if methods}


def _may_be_repeated(method: MethodDescriptorProto) -> bool:
    says_so = method.options.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
    is_get = bool(method.options.Extensions[annotations_pb2.http].get)
    return (says_so or is_get) and not (method.client_streaming or method.server_streaming)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where something is stale")
    parser.add_argument("--imports", type=Path, metavar="DIR", help="only write Google's protos there, for buf")
    arguments = parser.parse_args()
    if arguments.imports:
        write_imports(arguments.imports)
        return
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        stubs, idempotent = generate(fresh)
        committed = {p.relative_to(STUBS) for pattern in STUB_PATTERNS for p in STUBS.rglob(pattern)}
        stale = sorted(committed - set(stubs)) + [
            p for p in stubs if not (STUBS / p).exists() or not filecmp.cmp(fresh / p, STUBS / p, shallow=False)
        ]
        if not IDEMPOTENT.exists() or IDEMPOTENT.read_text() != idempotent:
            stale.append(IDEMPOTENT.relative_to(PROTOS.parent))
        if arguments.check:
            if stale:
                sys.exit("stale, run `make proto`: " + ", ".join(map(str, stale)))
            return
        IDEMPOTENT.write_text(idempotent)
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
