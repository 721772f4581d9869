"""The application: routes, and an envelope for all that FastAPI itself refuses."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from antiphon.errors import AntiphonError
from antiphon.master.calls import Parts
from antiphon.master.docs import document
from antiphon.master.problems import JSON, Problem, internal, of_error
from antiphon.master.routes import ROUTERS

MOST_TOLD = 20
"""Most wrong fields that one answer names."""


def make_app(parts: Parts) -> FastAPI:
    """The application over `parts`; `front.Front` stands before it."""
    app = FastAPI(
        title="Antiphon control plane",
        version=version("antiphon"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            RequestValidationError: _invalid,
            HTTPException: _refused,
            AntiphonError: _known,
            Exception: _failed,
        },
    )
    app.state.parts = parts
    app.openapi = partial(document, app)  # type: ignore[method-assign]
    for router in ROUTERS:
        # Flat, not nested: `include_router` costs every request a walk (measured: 0.2 ms).
        app.router.routes.extend(router.routes)
    return app


async def _known(_: Request, error: Exception) -> Response:
    assert isinstance(error, AntiphonError)
    problem = of_error(error)
    if problem.status == 500:
        raise error  # a fault of ours: logged in full
    return _response(problem)


async def _failed(_: Request, __: Exception) -> Response:
    return _response(internal())


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return _response(Problem(400, "bad_request", "The body is no JSON."))
    wrong = [
        # Never the value itself: it may be long, or a secret.
        {"where": ".".join(str(part) for part in item["loc"]), "problem": item["msg"]}
        for item in found[:MOST_TOLD]
    ]
    message = "The request is not as it must be: " + "; ".join(
        f"{item['where']}: {item['problem']}" for item in wrong[:3]
    )
    return _response(Problem(422, "bad_value", message[:1000], details={"wrong": wrong}))


async def _refused(request: Request, error: Exception) -> Response:
    """What the router itself says no to."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _response(Problem(404, "unknown_path", "There is no such path."))
    if error.status_code == 405:
        allowed = ", ".join(sorted(_methods(request)))
        return _response(
            Problem(
                405,
                "method_not_allowed",
                f"This path takes: {allowed}.",
                headers={"Allow": allowed},
            )
        )
    return _response(Problem(400, "bad_request", "The body can't be read."))


def _methods(request: Request) -> set[str]:
    """All methods of all routes with this path."""
    found: set[str] = set()
    for router in ROUTERS:
        for route in router.routes:
            matched, _ = route.matches(dict(request.scope))
            if matched is not Match.NONE:
                found |= set(getattr(route, "methods", None) or ())
    return found


def _response(problem: Problem) -> Response:
    return Response(problem.body, problem.status, problem.headers, media_type=JSON)


__all__: list[Any] = ["make_app"]
