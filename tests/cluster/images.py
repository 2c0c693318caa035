"""The images of infra/images, built with buildah as archives that a node loads.

The base is a Debian made here, since a test has no registry to take one from; ASSAY_BASE_IMAGE names another.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import REPOSITORY, find_tool

DOCKERFILES = REPOSITORY / "infra/images"
SERVICES = ("moe_router", "tom_verifier")  # what values-laptop.yaml enables
BASE = "localhost/assay-test-base:bookworm"
REDIS = "docker.io/library/assay-test-redis:debian"
# Without what runs on the machine of whoever deploys, and changes no server.
BUILT_FROM = ("constraints.txt", "infra/images", "kernels", "services", "shared/assay", "shared/pyproject.toml",
              ":!infra/images/README.md", ":!shared/assay/capacity", ":!shared/assay/platform")  # fmt: skip

# Without user namespaces or an overlay file system, which a test machine may lack.
BUILDAH = {"STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}


def archives(tag: str) -> list[Path]:
    """Docker archives of what values-laptop.yaml runs: a front and an engine of each service, MinIO and Redis.

    One front image and one engine image hold both services, so that the node keeps one torch. They are built again
    only when something they are built from has changed.
    """
    for program in ("buildah", "debootstrap"):
        if not shutil.which(program) and not (program == "debootstrap" and "ASSAY_BASE_IMAGE" in os.environ):
            pytest.skip(f"needs {program} to build images")
    folder = Path(tempfile.gettempdir()) / f"assay-images-{os.getuid()}" / _digest()
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)
        _build(folder, tag)
        (folder / "complete").touch()
    return sorted(folder.glob("*.tar"))


def _digest() -> str:
    """Of every file that the images are built from."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *BUILT_FROM],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    digest = hashlib.sha256()
    for name in sorted(listed.stdout.splitlines()):
        if (file := REPOSITORY / name).is_file():
            digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _build(folder: Path, tag: str) -> None:
    base = os.environ.get("ASSAY_BASE_IMAGE") or _base()
    service = f"SERVICE={' '.join(SERVICES)}"
    for part, arguments in {"front": [service], "engine": [service, "EXTRAS=engine,symbolic"]}.items():
        built = f"localhost/assay-test-{part}"
        _buildah(
            "bud", "--layers", *_pip_settings(folder), "--ignorefile", str(DOCKERFILES / "Dockerfile.dockerignore"),
            "-f", str(DOCKERFILES / "Dockerfile"), "--target", part, "-t", built,
            *(f"--build-arg={argument}" for argument in [f"BASE={base}", *arguments]), str(REPOSITORY),
        )  # fmt: skip
        _export(built, [f"assay-{name.replace('_', '-')}-{part}:{tag}" for name in SERVICES], folder / f"{part}.tar")
    alone = folder / "minio"
    alone.mkdir()
    shutil.copy2(find_tool("minio"), alone / "minio")
    _buildah("bud", "-f", str(DOCKERFILES / "minio.Dockerfile"), "-t", "localhost/assay-test-minio", str(alone))
    shutil.rmtree(alone)
    _build_redis(base, folder)
    _export("localhost/assay-test-minio", ["assay-minio:trial"], folder / "minio.tar")


def _build_redis(base: str, folder: Path) -> None:
    """Debian's own: no registry is asked for another."""
    file = folder / "Dockerfile"
    file.write_text(f"FROM {base}\nRUN apt-get update && apt-get install --yes redis-server\n")
    _buildah("bud", "-f", str(file), "-t", "localhost/assay-test-redis", str(folder))
    file.unlink()
    _export("localhost/assay-test-redis", [REDIS.removeprefix("docker.io/library/")], folder / "redis.tar")


def _base() -> str:
    """A minimal Debian with Python 3.11."""
    if subprocess.run(["buildah", "inspect", BASE], env=os.environ | BUILDAH, capture_output=True).returncode != 0:
        with tempfile.TemporaryDirectory() as tree:
            include = "--include=python3,python3-venv,ca-certificates"
            _run(["debootstrap", "--variant=minbase", include, "bookworm", tree])
            container = _buildah("from", "scratch").strip()
            _buildah("add", "-q", container, tree, "/")
            _buildah("commit", "-q", "--rm", container, BASE)
    return BASE


def _export(built: str, names: list[str], archive: Path) -> None:
    """One archive under several names: of two entries of the same name in a tar, the later one holds."""
    _buildah("push", "-q", built, f"docker-archive:{archive}:docker.io/library/{names[0]}")
    with tarfile.open(archive) as written:
        entry = written.extractfile("manifest.json")
        assert entry is not None
        (image,) = json.load(entry)
    named = json.dumps([image | {"RepoTags": [f"docker.io/library/{name}" for name in names]}]).encode()
    with tarfile.open(archive, "a") as grown:
        header = tarfile.TarInfo("manifest.json")
        header.size = len(named)
        grown.addfile(header, io.BytesIO(named))


def _pip_settings(folder: Path) -> list[str]:
    """Mounts that give pip in the build the settings, certificates and wheel folders that it has on this machine."""
    listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    settings = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'")
    file = folder / "pip.conf"
    file.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    words = [word for value in settings.values() for word in value.split()]
    # An index on disk has its files beside it.
    paths = {Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word) for word in words}
    mounted = {path for path in paths if path.is_absolute() and path.exists()} | {Path("/etc/ssl/certs")}
    mounted = {path for path in mounted if not mounted & set(path.parents)}
    mounts = [*(f"{path}:{path}:ro" for path in sorted(mounted)), f"{file}:/etc/pip.conf:ro"]
    return [part for mount in mounts for part in ("-v", mount)]


def _buildah(*arguments: str) -> str:
    return _run(["buildah", *arguments])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, env=os.environ | BUILDAH, capture_output=True, text=True, timeout=1200, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)[:200]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
