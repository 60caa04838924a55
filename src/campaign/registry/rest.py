"""The registry over HTTP: routes made of the table of operations, errors as problem details (RFC 9457)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Header, Path, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, ConfigDict, create_model
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from campaign import __version__
from campaign.registry.errors import BodyTooLargeError, InvalidRequestError, RegistryError
from campaign.registry.operations import ALWAYS, MISTAKES_MAX, OPERATIONS, Operation
from campaign.registry.service import KEY_MAX, Registry, known

if TYPE_CHECKING:
    from campaign.registry.tokens import Doorkeeper

BODY_MAX = 1 << 20
PROBLEM = "application/problem+json"


class Problem(BaseModel):
    """What is wrong, after RFC 9457; `error` is the name of the refusal."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    error: str


def make_app(registry: Registry, doorkeeper: Doorkeeper, lifespan: Any = None) -> FastAPI:
    """The application: every operation, health and readiness."""
    app = FastAPI(
        title="campaign registry",
        version=__version__,
        description="Which campaigns exist, who leads them, what state they are in, and which runs belong to them.",
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=BODY_MAX)
    app.add_middleware(DeclaredLength)
    router = APIRouter()
    for operation in OPERATIONS.values():
        _add_route(router, operation, registry, doorkeeper)
    app.include_router(router)
    _add_health(app, registry)
    app.add_exception_handler(RegistryError, _refused)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _other)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _defect)
    return app


def problem(error: RegistryError, **more: Any) -> JSONResponse:
    """An error as clients see it."""
    return JSONResponse(told(error) | more, status_code=error.status, media_type=PROBLEM, headers=_headers(error))


def told(error: RegistryError) -> dict[str, Any]:
    """The same as a mapping, which MCP tells as well."""
    name = type(error).__name__
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", name.removesuffix("Error")).lower()
    detail = f"{error.message} ({error.action})" if error.action else error.message
    return {"type": f"urn:campaign:{name}", "title": words, "status": error.status, "detail": detail, "error": name}


def _headers(error: RegistryError) -> dict[str, str]:
    return {"Retry-After": "5"} if error.status == 503 else {}


def _add_route(router: APIRouter, operation: Operation, registry: Registry, doorkeeper: Doorkeeper) -> None:
    statuses = {error.status for error in _refusals(operation)}
    router.add_api_route(
        operation.path,
        _handler(operation, registry),
        methods=[operation.method],
        status_code=operation.status,
        response_model=operation.response,
        name=operation.name,
        operation_id=operation.name,
        summary=operation.summary,
        description="Refusals: " + ", ".join(error.__name__ for error in (*operation.raises, *ALWAYS)),
        responses={status: _problem_response(operation, status) for status in sorted(statuses)},
        dependencies=[Depends(_identifying(doorkeeper))],
    )


Bearer = Annotated[Any, Security(HTTPBearer(auto_error=False, scheme_name="bearer"))]
Bare = Annotated[Any, Security(APIKeyHeader(name="X-Principal-Id", auto_error=False, scheme_name="principal"))]
"""How one is known, for the description; who decides is the doorkeeper."""


def _identifying(doorkeeper: Doorkeeper) -> Callable[..., None]:
    """A dependency that knows who asks before anything else is looked at."""

    def identify(request: Request, _: Bearer = None, __: Bare = None) -> None:
        request.state.principal = known(doorkeeper.principal_of(request.headers))

    return identify


def _refusals(operation: Operation) -> tuple[type[RegistryError], ...]:
    return (*operation.raises, *ALWAYS, BodyTooLargeError)


def _problem_response(operation: Operation, status: int) -> dict[str, Any]:
    names = [error.__name__ for error in _refusals(operation) if error.status == status]
    return {"description": ", ".join(names), "content": {PROBLEM: {"schema": Problem.model_json_schema()}}}


def _handler(operation: Operation, registry: Registry) -> Callable[..., Any]:
    """A function with the parameters that FastAPI looks for: those of the path, and a body or a query."""
    in_path = set(re.findall(r"{(\w+)}", operation.path))
    fields = operation.request.model_fields
    rest = {name: (field.annotation, field) for name, field in fields.items() if name not in in_path}

    def handle(request: Request, **given: Any) -> Response:
        key = given.pop("idempotency_key", None)
        asked = given.pop("asked", None)
        arguments = {**given, **({} if asked is None else asked.model_dump(mode="json", exclude_unset=True))}
        answer = registry.call(operation, request.state.principal, arguments, key)
        return Response(status_code=operation.status) if answer is None else JSONResponse(answer, operation.status)

    parameters: dict[str, Any] = {"request": Request}
    parameters |= {name: Annotated[fields[name].annotation, Path()] for name in fields if name in in_path}
    if rest:
        made: Any = create_model(operation.request.__name__, __config__=ConfigDict(extra="forbid"), **rest)  # type: ignore[call-overload]
        is_needed = any(field.is_required() for _, field in rest.values())
        where: Any = Query() if operation.method == "GET" else Body()
        parameters["asked"] = (
            Annotated[made, where] if is_needed or operation.method == "GET" else Annotated[made | None, where]
        )
    if operation.needs_key:
        parameters["idempotency_key"] = Annotated[str, Header(min_length=1, max_length=KEY_MAX)]
    handle.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation,
                default=None if name == "asked" and not is_needed and operation.method != "GET" else inspect.Parameter.empty,
            )
            for name, annotation in parameters.items()
        ]
    )  # fmt: skip
    handle.__name__ = operation.name
    return handle


def _add_health(app: FastAPI, registry: Registry) -> None:
    @app.get("/health", include_in_schema=False)
    async def health() -> Mapping[str, str]:
        return {"status": "ok", "version": __version__}

    @app.get("/ready", include_in_schema=False)
    def ready() -> Response:
        registry.store.ping()
        return JSONResponse({"status": "ok"})


async def _refused(_: Request, error: RegistryError) -> JSONResponse:
    return problem(error)


async def _invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    mistakes = [
        {"where": ".".join(map(str, one["loc"]))[:100], "what": one["msg"]} for one in error.errors()[:MISTAKES_MAX]
    ]
    words = "; ".join(f"{one['where']}: {one['what']}" for one in mistakes)
    return problem(InvalidRequestError(words), errors=mistakes)


async def _other(_: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == HTTPStatus.BAD_REQUEST:  # a body that is no JSON at all, however it is not
        return problem(InvalidRequestError(str(error.detail)))
    if error.status_code == BodyTooLargeError.status:
        return problem(BodyTooLargeError(f"a request has {BODY_MAX} bytes at most"))
    words = str(error.detail)
    body = {
        "type": "about:blank",
        "title": words,
        "status": error.status_code,
        "detail": words,
        "error": "HTTPException",
    }
    return JSONResponse(body, status_code=error.status_code, media_type=PROBLEM, headers=error.headers)


async def _defect(_: Request, error: Exception) -> JSONResponse:
    """A defect of ours: its traceback is in the log, not in the answer."""
    body = {
        "type": "about:blank",
        "title": "internal error",
        "status": 500,
        "detail": type(error).__name__,
        "error": "InternalError",
    }
    return JSONResponse(body, status_code=500, media_type=PROBLEM)


class DeclaredLength:
    """Refuses a body that says itself that it is too large, as any other refusal is told."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        declared = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > BODY_MAX:
            await problem(BodyTooLargeError(f"a request has {BODY_MAX} bytes at most"))(scope, receive, send)
        else:
            await self._app(scope, receive, send)
