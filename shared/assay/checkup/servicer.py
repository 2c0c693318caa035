"""CheckupService: every front examines a model for its own service."""

from __future__ import annotations

from collections.abc import Mapping

import grpc.aio

from assay.checkup.v1 import checkup_pb2, checkup_pb2_grpc
from assay.errors import InvalidInput, Unimplemented
from assay.server.call import current_call
from assay.server.service import Front


class CheckupServicer(checkup_pb2_grpc.CheckupServiceServicer):
    """Starts the examination job of the service a request names. `fronts`: by service name."""

    def __init__(self, fronts: Mapping[str, Front]) -> None:
        self._fronts = fronts

    async def ListServices(  # noqa: N802
        self, request: checkup_pb2.ListServicesRequest, context: grpc.aio.ServicerContext
    ) -> checkup_pb2.ListServicesResponse:
        answer = checkup_pb2.ListServicesResponse()
        for name, front in sorted(self._fronts.items()):
            service = front.service
            answer.services.add(name=name, full_name=service.full_name, examines=service.examine is not None)
        return answer

    async def Examine(  # noqa: N802
        self, request: checkup_pb2.ExamineRequest, context: grpc.aio.ServicerContext
    ) -> checkup_pb2.ExamineResponse:
        front = self._fronts.get(request.service)
        if front is None:
            raise InvalidInput("service", f"is not served here; this server examines {', '.join(self._fronts)}")
        if front.service.examine is None:
            raise Unimplemented(f"{request.service} contributes no section to the checkup")
        for field in ("model", "text"):
            if not getattr(request, field):
                raise InvalidInput(field, "is empty; give an artifact's digest or label")
        operation = await front.operations.start(
            front.service.examine, request, caller=current_call().caller, request_id=request.request_id
        )
        return checkup_pb2.ExamineResponse(operation=operation)
