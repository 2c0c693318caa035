"""Ranges stand in the metadata, pins in constraints.txt: whatever setup installs has one, and is that version."""

from __future__ import annotations

import re
from importlib.metadata import distribution

from distributions import REPOSITORY, SERVICES
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

OWN = {"assay-platform", "assay-kernels", *(f"assay-{canonicalize_name(name)}" for name in SERVICES)}


def pins() -> dict[str, Version]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def needed(roots: set[Requirement]) -> set[str]:
    """Names of all distributions that `roots` bring on this platform, through any depth."""
    found: set[str] = set()
    waiting, seen = list(roots), set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), requirement.extras or {""}
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        found.add(name)
        for text in distribution(name).requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(wanted)
    return found


def setup_requirements() -> set[Requirement]:
    makefile = (REPOSITORY / "Makefile").read_text()
    (tools,) = re.findall(r"^TEST_TOOLS := (.+)$", makefile, re.MULTILINE)
    own = {f"assay-{canonicalize_name(name)}[engine]" for name in SERVICES}
    own |= {"assay-platform[server,s3,ray,models,plots]", "assay-kernels[triton]", "assay-tom-verifier[symbolic]"}
    return {Requirement(text) for text in {*tools.split(), *own}}


def test_everything_that_setup_installs_is_pinned_and_there_in_that_version() -> None:
    pinned = pins()
    names = needed(setup_requirements()) - OWN
    assert names - set(pinned) == set()
    installed = {name: Version(distribution(name).version) for name in names}
    # torch's own wheels of one version differ in a local part: +cpu, +cu130.
    assert {name: v for name, v in installed.items() if v.public != pinned[name].public} == {}
