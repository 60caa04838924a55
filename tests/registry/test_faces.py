"""What is special to each face of the registry: headers, tokens, hostile requests, transports."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mcp import Client, StdioServerParameters
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from campaign.registry.errors import InvalidRequestError, RegistryError
from campaign.registry.operations import OPERATIONS, Role
from campaign.registry.rest import BODY_MAX
from campaign.registry.serving import application
from campaign.registry.tokens import Doorkeeper, Principals
from campaign.registry.tools import as_somebody, make_server
from tests.registry.conftest import ADMIN, ME
from tests.registry.test_examples import EXAMPLE

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADERS = {"X-Principal-Id": str(ME)}


def test_the_paths_and_methods_of_the_document(http):
    paths = http.get("/openapi.json").json()["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert {
        ("POST", "/campaigns"), ("POST", "/campaigns/{campaign_id}/start"), ("POST", "/campaigns/{campaign_id}/hold"),
        ("POST", "/campaigns/{campaign_id}/resume"), ("POST", "/campaigns/{campaign_id}/close"),
        ("POST", "/campaigns/{campaign_id}/abandon"), ("POST", "/campaigns/{campaign_id}/runs/{run_id}"),
        ("POST", "/campaigns/{campaign_id}/runs/{run_id}/remove"), ("GET", "/campaigns/{campaign_id}"), ("GET", "/campaigns"),
    } <= served  # fmt: skip


def test_an_idempotency_key_is_required_over_rest(http):
    answer = http.post("/campaigns", json=EXAMPLE, headers=HEADERS)
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"] or "idempotency-key" in answer.json()["detail"]


def test_tools_are_the_operations(registry):
    async def listed():
        async with Client(make_server(registry, as_somebody(ADMIN))) as client:
            return {tool.name: tool.input_schema for tool in (await client.list_tools()).tools}

    tools = asyncio.run(listed())
    assert set(tools) == set(OPERATIONS)
    assert tools["hold_campaign"]["required"] == ["campaign_id", "reason"]


def test_tokens(store, registry):
    principals = Principals(store)
    _, viewer = principals.create("eve", Role.VIEWER, NOW)
    operator, token = principals.create("ada", Role.OPERATOR, NOW)
    with pytest.raises(InvalidRequestError, match="'ada' has a token"):
        principals.create("ada", Role.ADMIN, NOW)
    with TestClient(application(registry, Doorkeeper(principals)), base_url="http://127.0.0.1") as client:

        def register(headers):
            return client.post("/campaigns", json=EXAMPLE, headers={"Idempotency-Key": uuid4().hex, **headers})

        assert register({"Authorization": f"Bearer {token}"}).status_code == 201
        assert register({"authorization": f"bearer {token}"}).status_code == 201
        for wrong in (
            {"Authorization": f"Bearer {viewer}"},
            {"Authorization": "Bearer nobody"},
            {"Authorization": token},
            HEADERS,
            {},
        ):
            answer = register(wrong)
            assert (answer.status_code, answer.json()["error"]) == (403, "Unauthorized")
        assert client.get("/campaigns", headers={"Authorization": f"Bearer {viewer}"}).status_code == 200
        principals.revoke("ada", NOW)
        assert register({"Authorization": f"Bearer {token}"}).status_code == 403
    with pytest.raises(InvalidRequestError, match="no principal 'ada'"):
        principals.revoke("ada", NOW)
    assert [(row["name"], row["revoked_at"]) for row in principals.listed()] == [("eve", None), ("ada", NOW)]
    assert token not in json.dumps(principals.listed(), default=str)
    assert operator.principal_id != ME


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/campaigns", b"x" * (10 << 20), 413),
        ("POST", "/campaigns", b"{", 422),
        ("POST", "/campaigns", b'"\\ud800"', 422),
        ("POST", "/campaigns", json.dumps({**EXAMPLE, "name": "\ud800"}).encode(), 422),
        ("POST", "/campaigns", json.dumps({**EXAMPLE, "name": "a\0b"}).encode(), 422),
        ("POST", "/campaigns", b"[" * 100_000, 422),
        ("POST", "/runs", json.dumps({"name": "r", "directory": "a\0"}).encode(), 422),
        ("POST", "/runs", json.dumps({"name": "r", "host": "\ud800"}).encode(), 422),
        ("GET", "/campaigns/not-a-uuid", b"", 422),
        ("GET", "/campaigns?limit=many", b"", 422),
        ("GET", "/campaigns?tag=%00", b"", 422),
        ("GET", "/campaigns?cursor=%00", b"", 422),
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/campaigns", b"", 405),
    ],
)
def test_hostile_requests_get_the_documented_error(http, method, path, body, status):
    headers = {**HEADERS, "Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = http.request(method, path, content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= set(answer.json())


def test_who_is_nobody_is_told_so_before_anything_is_looked_at(http):
    body = json.dumps({f"k{n}": n for n in range(50_000)}).encode()
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = http.post("/campaigns", content=body, headers=headers)
    assert (answer.status_code, len(answer.content) < 1000) == (403, True)
    answer = http.post("/campaigns", content=body, headers=headers | HEADERS)
    assert (answer.status_code, len(answer.content) < 20_000) == (422, True)


def test_the_description_says_how_one_is_known(http):
    schemes = http.get("/openapi.json").json()["components"]["securitySchemes"]
    assert (schemes["bearer"]["scheme"], schemes["principal"]["name"]) == ("bearer", "X-Principal-Id")


def test_a_body_without_a_length_is_bounded_as_well(http):
    chunks = (b"x" * 65536 for _ in range(2 * BODY_MAX // 65536))
    answer = http.post(
        "/campaigns", content=chunks, headers={**HEADERS, "Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    assert answer.status_code == 413


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=st.sampled_from(sorted(OPERATIONS)),
    arguments=st.dictionaries(
        st.sampled_from(
            [
                "campaign_id",
                "run_id",
                "reason",
                "name",
                "intent",
                "tags",
                "limit",
                "cursor",
                "status",
                "tag",
                "directory",
                "\0",
            ]
        ),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(),
            st.lists(st.text(), max_size=3),
            st.just(str(ME)),
        ),
    ),
)
def test_whatever_is_asked_is_answered_or_refused(registry, name, arguments):
    status = 200
    try:
        registry.call(OPERATIONS[name], ADMIN, arguments, "k")
    except RegistryError as error:
        status = error.status
    assert status in (200, 403, 404, 409, 422)


def test_a_database_that_goes_away_is_a_503_and_comes_back(postgres, request):
    from campaign.registry.service import Registry
    from campaign.registry.store import EventStore

    store = EventStore(postgres.database())
    app = application(Registry(store), Doorkeeper(Principals(store), trusts_bare_ids=True))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        assert client.get("/ready").status_code == 200
        postgres.stop()
        try:
            for path in ("/ready", "/campaigns"):
                answer = client.get(path, headers=HEADERS)
                assert (answer.status_code, answer.json()["error"]) == (503, "RegistryUnavailableError")
                assert answer.headers["retry-after"] == "5"
            assert client.get("/health").status_code == 200
        finally:
            postgres.start()
        assert client.get("/ready").status_code == 200
    store.close()


def test_a_page_elsewhere_whose_name_leads_here_is_refused(http):
    answer = http.get("/campaigns", headers={**HEADERS, "Host": "evil.example"})
    assert answer.status_code == 400
    assert http.get("/health", headers={"Host": "localhost:8765"}).status_code == 200


def test_mcp_over_http_knows_who_asks(http):
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

    def call(**more):
        asked = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "register_campaign", "arguments": EXAMPLE},
        }
        return http.post("/mcp", json=asked, headers=headers | more).json()["result"]

    refused = call()
    assert refused["isError"]
    assert refused["structuredContent"]["error"] == "Unauthorized"
    made = call(**HEADERS)["structuredContent"]["campaign_id"]
    assert http.get(f"/campaigns/{made}", headers=HEADERS).json()["name"] == EXAMPLE["name"]
    assert http.get("/mcp", headers=headers | HEADERS).status_code == 405
    large = http.post("/mcp", content=b"x" * (BODY_MAX + 1), headers=headers | HEADERS)
    assert large.status_code == 413


def test_mcp_on_stdio(tmp_path):
    words = ["-m", "campaign", "serve", "--url", f"sqlite:///{tmp_path}/r.db", "--stdio"]

    async def talk():
        async with Client(StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))) as client:
            made = await client.call_tool("register_campaign", EXAMPLE)
            seen = await client.call_tool("get_campaign", made.structured_content)
            gone = await client.call_tool("get_campaign", {"campaign_id": str(uuid4())})
            odd = await client.call_tool("make_coffee", {})
            return seen.structured_content, gone, odd

    seen, gone, odd = asyncio.run(talk())
    assert (seen["name"], seen["status"]) == (EXAMPLE["name"], "Planned")
    assert (gone.is_error, gone.structured_content["error"]) == (True, "CampaignNotFoundError")
    assert (odd.is_error, odd.structured_content["error"]) == (True, "InvalidRequestError")


def test_a_server_is_not_open_to_anybody(tmp_path):
    words = [
        sys.executable,
        "-m",
        "campaign",
        "serve",
        "--url",
        f"sqlite:///{tmp_path}/r.db",
        "--host",
        "0.0.0.0",
        "--trust-principal-header",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "anybody could be anybody" in done.stderr


EXCLUDED = {
    "ignored_auth",  # whoever gives a principal is believed here
    "positive_data_acceptance",  # that `all` stands alone, and what a cursor is, can't be said in a schema
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", GenerationMode)
def test_schemathesis_finds_nothing(registry, store, mode):
    app = application(registry, Doorkeeper(Principals(store), trusts_bare_ids=True), "0.0.0.0")
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    excluded = [check for check in CHECKS.get_all() if check.__name__ in EXCLUDED]

    def tried(operation):
        @settings(max_examples=5, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case):
            case.headers = {**(case.headers or {}), **HEADERS}
            case.call_and_validate(excluded_checks=excluded)

        ask()
        return True

    assert all(tried(schema.find_operation_by_id(name)) for name in OPERATIONS)


def test_the_page_names_every_operation_and_what_it_refuses_with():
    page = (Path(__file__).parents[2] / "docs" / "registry.md").read_text()
    for operation in OPERATIONS.values():
        refusals = ", ".join(f"`{error.__name__}`" for error in operation.raises)
        assert f"| `{operation.name}` | `{operation.method} {operation.path}` | {refusals} |" in page


DOCUMENTED = {
    "register_campaign": "CampaignAlreadyExistsError InvalidCampaignNameError InvalidCampaignDescriptionError InvalidCampaignTagError InvalidCampaignExternalIdError",
    "start_campaign": "CampaignNotFoundError CampaignCannotStartError",
    "hold_campaign": "CampaignNotFoundError CampaignCannotHoldError InvalidCampaignHoldReasonError",
    "resume_campaign": "CampaignNotFoundError CampaignCannotResumeError",
    "close_campaign": "CampaignNotFoundError CampaignCannotCloseError",
    "abandon_campaign": "CampaignNotFoundError CampaignCannotAbandonError InvalidCampaignAbandonReasonError",
    "add_run_to_campaign": "CampaignNotFoundError RunNotFoundError CampaignCannotAddRunError CampaignRunAlreadyMemberError RunAlreadyAssignedToCampaignError",
    "remove_run_from_campaign": "CampaignNotFoundError CampaignCannotRemoveRunError CampaignRunNotMemberError InvalidCampaignRunRemoveReasonError",
    "get_campaign": "CampaignNotFoundError",
    "list_campaigns": "",
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_slice_may_raise_what_the_document_says(name):
    assert set(DOCUMENTED[name].split()) <= {error.__name__ for error in OPERATIONS[name].raises}
