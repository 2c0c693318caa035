"""Imports every module of the packages named, and prints as JSON which of them lack what."""

import contextlib
import importlib
import io
import json
import pkgutil
import sys


def lacking(packages: list[str]) -> dict[str, str]:
    """Module -> the top-level package it could not import; modules that import well are left out."""
    missing: dict[str, str] = {}
    for package in packages:
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name.endswith(".__main__"):
                continue
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                missing[module.name] = (error.name or "").partition(".")[0]
    return missing


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        found = lacking(sys.argv[1:])
    print(json.dumps(found))
