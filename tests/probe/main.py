"""`python -m probe.main ENGINE`: the probe's front; prints its address when it serves.

Set up by ASSAY_* variables as a deployment is, but for a port of its own and no pause before it stops.
ASSAY_PROBE_LEASE_S: how long a dead front's operations wait for the next one, where ten seconds are too long.
"""

import asyncio
import os
import sys

from prometheus_client import CollectorRegistry

from assay.compute import LocalCompute
from assay.config import Config
from assay.engine.in_process import InProcessEngine, WorkSlots
from assay.engine.on_serve import ServeEngine
from assay.engine.step import Resources
from assay.operations import lease
from assay.server.front import FrontServer
from assay.server.logs import configure_logs
from assay.server.metrics import Metrics
from assay.server.settings import ServerSettings
from probe.service import SERVICE


async def main() -> None:
    configure_logs(os.environ.get("ASSAY_LOG_LEVEL", "INFO"))
    artifacts = Config.from_environment().open_artifacts()
    where = sys.argv[1]
    engine = (
        InProcessEngine(SERVICE.engine_module, Resources(artifacts, LocalCompute(1)), WorkSlots(4))
        if where == "in-process"
        else ServeEngine(where, "probe")
    )
    settings = ServerSettings.from_environment(
        {"ASSAY_LISTEN": "127.0.0.1:0", "ASSAY_DRAIN_S": "0", "ASSAY_GRACE_S": "1", **os.environ}
    )
    server = FrontServer([(SERVICE, engine)], artifacts, settings, Metrics(CollectorRegistry()))
    print(await server.start(), flush=True)
    await server.wait()


if seconds := os.environ.get("ASSAY_PROBE_LEASE_S"):
    lease.LEASE_S, lease.RENEW_S = float(seconds), float(seconds) / 3
asyncio.run(main())
