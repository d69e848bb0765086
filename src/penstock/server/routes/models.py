"""GET /v1/models: what can be named as `model`, in OpenAI's shape."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from penstock.errors import NotFound
from penstock.runtime import Runtime
from penstock.services.moderation.answers import MODEL
from penstock.web.errors import responses
from penstock.web.roles import Viewer

ALIASES = ("omni-moderation-latest", "text-moderation-latest")  # what clients of OpenAI ask for


class Model(BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "penstock"
    versions: dict[str, str]


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[Model]


def router(runtime: Runtime) -> APIRouter:
    """The routes of the model list."""
    routes = APIRouter(prefix="/v1/models", tags=["models"])
    listed = {
        name: Model(id=name, versions=runtime.moderation.models) for name in (MODEL, *ALIASES)
    }

    @routes.get("")
    async def list_models(_: Viewer) -> ModelList:
        """List the models that `/v1/moderations` answers with."""
        return ModelList(data=list(listed.values()))

    @routes.get("/{model_id}", responses=responses(NotFound))
    async def get_model(model_id: str, _: Viewer) -> Model:
        """One model."""
        if model_id not in listed:
            raise NotFound(f"no model is called {model_id[:80]!r}; known: {', '.join(listed)}")
        return listed[model_id]

    return routes
