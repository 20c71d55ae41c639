"""`bench serve`: predictions over HTTP with an OpenAPI page. Only this module imports FastAPI.

A recording is the body of a request, not a part of a form: nothing is written to disk, and a body that is too
large is refused before it is read to its end.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, WithJsonSchema
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles
from swagger_ui_bundle import swagger_ui_path

from marsbench.app.inference import MAX_MEGABYTES, MAX_SECONDS, predict_bytes
from marsbench.deployment.bundle_files import AnyBundle
from marsbench.deployment.bundle_record import worth_phrase
from marsbench.errors import BenchError

MAX_WAITING = 8
"""Recordings that are predicted or wait for it; they are predicted one at a time."""
UPLOAD_SECONDS = 60.0
"""In which a body must have arrived."""
_BODY = {
    "requestBody": {
        "required": True,
        "description": f"An audio file, at most {MAX_MEGABYTES} MB and {MAX_SECONDS / 60:.0f} minutes.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


# As OpenAPI 3.0 writes it.
_Number = Annotated[float | None, WithJsonSchema({"type": "number", "nullable": True})]
_Flag = Annotated[bool | None, WithJsonSchema({"type": "boolean", "nullable": True})]
_Text = Annotated[str | None, WithJsonSchema({"type": "string", "nullable": True})]


class Stretch(BaseModel):
    """A stretch of a long recording; start and end in seconds."""

    start: float
    end: float
    probabilities: dict[str, float]
    novelty: _Number


class Answer(BaseModel):
    """The emotion of a recording.

    `is_unlike` tells that it is unlike the training clips (`novelty` above 0.99), so that what `tested` says
    does not hold for it; `is_narrowband` that its sample rate is lower than theirs; `is_mixed` that the
    windows of a long one disagree. `right_when_this_sure` is the share of test clips answered about as
    surely that were right; null if that is not known.
    """

    label: str
    confidence: float
    right_when_this_sure: _Number
    is_mixed: bool
    probabilities: dict[str, float]
    seconds: float
    is_narrowband: bool
    novelty: _Number
    is_unlike: _Flag
    windows: list[Stretch]
    tested: str


class Health(BaseModel):
    """The model that answers, and how often it was right when it was tested."""

    status: Literal["ok"]
    model: str
    labels: list[str]
    tested: str
    warning: _Text


class Refusal(BaseModel):
    """Why there is no answer."""

    detail: str


_REFUSALS: dict[int | str, dict[str, Any]] = {
    408: {"model": Refusal, "description": f"The body took more than {UPLOAD_SECONDS:.0f} seconds."},
    413: {"model": Refusal, "description": "The body is too large."},
    415: {"model": Refusal, "description": "The body is a form."},
    422: {"model": Refusal, "description": "No audio, or empty, silent, too short, too long."},
    503: {"model": Refusal, "description": "Too many recordings wait."},
}


def make_server(bundle: AnyBundle, allowed_hosts: Sequence[str] = ("*",)) -> FastAPI:
    """The application that `bench serve` runs: POST /predict, GET /health, /docs and /openapi.json.

    Args:
        bundle: predicts.
        allowed_hosts: values of the header Host that are answered, "*" for all.
    """
    tested = worth_phrase(bundle.record.origin)
    server = FastAPI(
        title=bundle.record.title,
        description=tested,
        version=version("marsbench"),
        docs_url=None,
        redoc_url=None,
    )
    server.openapi_version = "3.0.3"  # the page's Swagger UI 4 shows nothing of a later one
    server.add_middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts))
    slots = asyncio.Semaphore(MAX_WAITING)

    @server.post("/predict", openapi_extra=_BODY, responses=_REFUSALS)
    async def predict(request: Request) -> Answer:
        """The emotion of a recording, whose file is the body: `curl --data-binary @clip.wav URL/predict`."""
        async with _slot(slots):
            data = await _body(request)
            try:
                answer = await run_in_threadpool(predict_bytes, bundle, data)
            except BenchError as error:
                raise HTTPException(422, str(error)) from error
        return Answer(**answer.prediction.as_dict(), tested=tested)

    @server.get("/health")
    async def health() -> Health:
        """Whether the server answers, and with which model."""
        return Health(
            status="ok",
            model=bundle.record.title,
            labels=list(bundle.labels),
            tested=tested,
            warning=bundle.warning,
        )

    _add_page(server, bundle.record.title)
    return server


def _add_page(server: FastAPI, title: str) -> None:
    """The OpenAPI page, whose files come from this machine and not from another, as FastAPI's own would."""
    server.mount("/assets", StaticFiles(directory=swagger_ui_path))

    @server.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=title,
            swagger_js_url="/assets/swagger-ui-bundle.js",
            swagger_css_url="/assets/swagger-ui.css",
            swagger_favicon_url="/assets/favicon-32x32.png",
        )

    @server.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")


@asynccontextmanager
async def _slot(slots: asyncio.Semaphore) -> AsyncIterator[None]:
    """A place among those that wait; raises HTTPException where there is none."""
    if slots.locked():
        raise HTTPException(
            503, f"{MAX_WAITING} recordings wait already; ask again later", headers={"Retry-After": "1"}
        )
    async with slots:
        yield


async def _body(request: Request) -> bytes:
    """The body of a request; raises HTTPException if it is a form, too large, or takes too long."""
    # curl --data-binary says application/x-www-form-urlencoded whatever it sends.
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise HTTPException(
            415, "the body is a form; send the file itself: curl --data-binary @clip.wav URL/predict"
        )
    data = bytearray()
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > MAX_MEGABYTES << 20:
                    raise HTTPException(413, f"too large: the limit is {MAX_MEGABYTES} MB")
    except TimeoutError as error:
        raise HTTPException(408, f"the body took more than {UPLOAD_SECONDS:.0f} seconds") from error
    except ClientDisconnect as error:
        raise HTTPException(400, "the connection was closed before the body's end") from error
    return bytes(data)
