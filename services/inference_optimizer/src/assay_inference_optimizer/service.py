"""inference_optimizer, as the chassis sees it. Importing this brings no torch."""

from assay.server.service import MethodPolicy, Service
from assay_inference_optimizer.jobs import EXAMINE, FULL_NAME, JOBS
from assay_inference_optimizer.servicer import add_to_server

# An answer may be long, and a model's first one waits for its weights.
ANSWERS = MethodPolicy(default_deadline_s=600, max_deadline_s=3600, max_concurrent=512)
LOADING = MethodPolicy(default_deadline_s=300, max_deadline_s=1800, max_concurrent=64)

SERVICE = Service(
    name="inference_optimizer",
    full_name=FULL_NAME,
    engine_module="assay_inference_optimizer.engine",
    add_to_server=add_to_server,
    jobs=JOBS,
    examine=EXAMINE,
    policies={
        "Generate": ANSWERS,
        "Decode": ANSWERS,
        "Prefill": ANSWERS,
        "Score": LOADING,
        "LoadModel": LOADING,
        "UnloadModel": LOADING,
    },
)
