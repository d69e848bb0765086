"""POST /v1/moderations in OpenAI's shape. Parses, calls the service, answers."""

from __future__ import annotations

from typing import Any

from penstock.services.moderation.answers import question, response, verdicts
from penstock.services.moderation.schemas import ModerationRequest, ModerationResponse
from penstock.services.moderation.service import ModerationService
from penstock.web.hot import Call, HotRoute

PATH = "/v1/moderations"


def routes(service: ModerationService, *, model: str, max_inputs: int) -> list[HotRoute[Any, Any]]:
    """The hot routes of moderation. `model` is the name that responses carry."""

    async def moderate(request: ModerationRequest, call: Call) -> ModerationResponse:
        asked = question(request, max_inputs=max_inputs)
        who = call.principal
        found = await verdicts(service, asked, owner=who.owner, key=who.key_id)
        for verdict in found:
            for stage, seconds in verdict.receipt.stages.items():
                call.stages[stage] = call.stages.get(stage, 0.0) + seconds
        return response(found, model=model)

    return [
        HotRoute(
            PATH,
            moderate,
            request=ModerationRequest,
            response=ModerationResponse,
            role="operator",
            summary="Classify texts as OpenAI does, with a decision and its receipt",
            tag="moderation",
        )
    ]
