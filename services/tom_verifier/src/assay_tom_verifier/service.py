"""tom_verifier, as the chassis sees it. Importing this brings no torch."""

from assay.server.service import MethodPolicy, Service
from assay_tom_verifier.jobs import EXAMINE, FULL_NAME, JOBS
from assay_tom_verifier.servicer import add_to_server

# A large file of rows, many traces or a hard model take their time; a first score waits for the verifier's weights.
LONG = MethodPolicy(default_deadline_s=300, max_deadline_s=1800, max_concurrent=64)
STREAMS = MethodPolicy(default_deadline_s=3600, max_deadline_s=86400, max_concurrent=256)

SERVICE = Service(
    name="tom_verifier",
    full_name=FULL_NAME,
    engine_module="assay_tom_verifier.engine",
    add_to_server=add_to_server,
    jobs=JOBS,
    examine=EXAMINE,
    policies={
        "Evaluate": LONG,
        "Audit": LONG,
        "SampleTraces": STREAMS,
        "ScoreTraces": LONG,
        "ScoreTraceStream": STREAMS,
        "GenerateStories": STREAMS,
        "Simulate": LONG,
        "BeamSearch": LONG,
        "ModelCheck": LONG,
        "UpdateModel": LONG,
        "Contract": LONG,
    },
)
