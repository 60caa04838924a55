"""The registry for agents: MCP tools made of the table of operations, with the same names, answers and errors as over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import anyio.to_thread
from mcp import types
from mcp.server import Server, ServerRequestContext

from campaign import __version__
from campaign.registry.errors import InvalidRequestError, RegistryError
from campaign.registry.operations import OPERATIONS, Category, Operation
from campaign.registry.rest import told
from campaign.registry.service import Principal, Registry
from campaign.registry.tokens import Doorkeeper, bare_principal


def make_server(registry: Registry, identify: Callable[[ServerRequestContext[Any]], Principal | None]) -> Server[Any]:
    """A server of the low level of the SDK; `identify` tells who asks."""

    async def list_tools(
        _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_tool(operation) for operation in OPERATIONS.values()])

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        return await anyio.to_thread.run_sync(_call, registry, identify, context, params)

    return Server(
        "campaign-registry", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool,
        instructions="Campaigns group runs. Register a campaign, start it, add runs to it, then close it; reasons are kept.",
    )  # fmt: skip


def by_headers(doorkeeper: Doorkeeper) -> Callable[[ServerRequestContext[Any]], Principal | None]:
    """Who asks over HTTP."""

    def identify(context: ServerRequestContext[Any]) -> Principal | None:
        return None if context.request is None else doorkeeper.principal_of(context.request.headers)

    return identify


def as_somebody(
    principal: Principal, *, trusts_bare_ids: bool = False
) -> Callable[[ServerRequestContext[Any]], Principal | None]:
    """Who asks on stdio, or in this process: `principal`, or whom the request names, where that is believed."""

    def identify(context: ServerRequestContext[Any]) -> Principal | None:
        named = _meta(context).get("principal_id")
        return bare_principal(str(named)) if trusts_bare_ids and named is not None else principal

    return identify


def _meta(context: ServerRequestContext[Any]) -> Mapping[str, Any]:
    return context.meta or {}


def _tool(operation: Operation) -> types.Tool:
    return types.Tool(
        name=operation.name,
        description=f"{operation.act.__doc__} Refusals: {', '.join(error.__name__ for error in operation.raises)}.",
        input_schema=operation.request.model_json_schema(),
        annotations=types.ToolAnnotations(
            read_only_hint=operation.category is Category.QUERY,
            destructive_hint=operation.name in ("close_campaign", "abandon_campaign", "remove_run_from_campaign"),
            idempotent_hint=operation.category is Category.QUERY,
            open_world_hint=False,
        ),
    )


def _call(
    registry: Registry,
    identify: Callable[[ServerRequestContext[Any]], Principal | None],
    context: ServerRequestContext[Any],
    params: types.CallToolRequestParams,
) -> types.CallToolResult:
    try:
        operation = OPERATIONS.get(params.name)
        if operation is None:
            raise InvalidRequestError(
                f"there is no operation {params.name!r}", action=f"use one of: {', '.join(OPERATIONS)}"
            )
        key = _meta(context).get("idempotency_key")
        answer = registry.call(operation, identify(context), params.arguments or {}, None if key is None else str(key))
    except RegistryError as error:
        return _result(told(error), is_error=True)
    return _result(answer if answer is not None else {})


def _result(content: dict[str, Any], *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=json.dumps(content))],
        structured_content=content,
        is_error=is_error,
    )
