"""moe_router, as the chassis sees it. Importing this brings no torch."""

from assay.server.service import MethodPolicy, Service
from assay_moe_router.jobs import APPLY_PLAN, CALIBRATE, EVALUATE, EXAMINE, FULL_NAME, SCORE_IMPORTANCE
from assay_moe_router.servicer import add_to_server

SERVICE = Service(
    name="moe_router",
    full_name=FULL_NAME,
    engine_module="assay_moe_router.engine",
    add_to_server=add_to_server,
    jobs=(CALIBRATE, SCORE_IMPORTANCE, APPLY_PLAN, EVALUATE),
    examine=EXAMINE,
    policies={
        # Loading a large checkpoint to describe it takes its time.
        "DescribeModel": MethodPolicy(default_deadline_s=300, max_deadline_s=1800, max_concurrent=16),
        "PlanReplicateQuantize": MethodPolicy(default_deadline_s=120, max_deadline_s=600, max_concurrent=16),
    },
)
