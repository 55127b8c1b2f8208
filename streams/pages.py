"""The pages of a worker, for whoever watches it: Prometheus, and a supervisor that asks for health."""

from __future__ import annotations

from collections.abc import Callable

import faust
from faust.web import Request, Response, View
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from streams.health import Health
from streams.metrics import Metrics


def add_pages(app: faust.App, look: Callable[[], Health], measure: Callable[[], Metrics]) -> None:
    """Serve /metrics, /healthz and /readyz, each of what is seen when it is asked for."""

    @app.page("/metrics", name="metrics")
    async def metrics(view: View, request: Request) -> Response:
        text = generate_latest(measure().registry)
        return view.bytes(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.page("/healthz", name="healthz")
    async def healthz(view: View, request: Request) -> Response:
        reason = look().unhealthy()
        if reason is None:
            return view.json({"healthy": True})
        return view.json({"healthy": False, "reason": reason}, status=503)

    @app.page("/readyz", name="readyz")
    async def readyz(view: View, request: Request) -> Response:
        reasons = [{"code": code, "text": text} for code, text in look().not_ready()]
        return view.json({"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200)
