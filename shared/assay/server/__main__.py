"""`python -m assay.server SERVICE...`: one front, set up by the environment (see `assay.server.settings`)."""

from __future__ import annotations

import os
import sys

from assay.config import Config
from assay.errors import AssayError
from assay.server.platform import IN_PROCESS
from assay.server.run import serve
from assay.server.settings import ServerSettings


def main() -> None:
    try:
        settings = ServerSettings.from_environment()
        serve(sys.argv[1:], settings, Config.from_environment(), engine=os.environ.get("ASSAY_ENGINE", IN_PROCESS))
    except AssayError as error:
        sys.exit(f"assay.server: {error.message}")


if __name__ == "__main__":
    main()
