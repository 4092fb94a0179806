"""The JSON API for moderators' programs, under `/api/v1`. A Bearer token on every request, problem+json for errors."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from feedback_guard import settings
from feedback_guard.review import bounds
from feedback_guard.review.body import read_decision
from feedback_guard.review.documents import item_document, row_document
from feedback_guard.review.part import Part
from feedback_guard.review.problems import Refused
from feedback_guard.review.rulings import find, is_item_id, rule
from feedback_guard.review.ways import go_on
from feedback_guard.store.records import StoredSubmission
from feedback_guard.store.states import Resolution

PREFIX = "/api/v1"


class Api(Part):
    """The JSON API."""

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        return [
            Route(f"{PREFIX}/held", self.held, methods=["GET"]),
            Route(f"{PREFIX}/items/{{item}}", self.item, methods=["GET"]),
            Route(f"{PREFIX}/items/{{item}}/approve", self.approve, methods=["POST"]),
            Route(f"{PREFIX}/items/{{item}}/deny", self.deny, methods=["POST"]),
            Route(f"{PREFIX}/undelivered", self.undelivered, methods=["GET"]),
            *(
                Route(f"{PREFIX}/items/{{item}}/{resolution.value}", self._way(resolution), methods=["POST"])
                for resolution in Resolution
            ),
        ]

    async def held(self, request: Request) -> Response:
        """What waits for a decision, oldest first: `{"count", "items": [...], "next"}`.

        `limit` is 1 to `settings.MAX_REVIEW_PAGE`; `after` is the `next` of the page before, which is null at
        the end.
        """
        store = self._desk.store

        def count() -> int:
            return store.held_summary().count

        return await self._list(request, store.held, count)

    async def undelivered(self, request: Request) -> Response:
        """What did not plainly arrive and has a way on, oldest first; as `held`."""
        return await self._list(request, self._desk.store.stuck, self._desk.store.count_stuck)

    async def _list(
        self, request: Request, look: Callable[..., list[StoredSubmission]], count: Callable[[], int]
    ) -> Response:
        await self._gate.bearer(request)
        limit_text = request.query_params.get("limit", str(bounds.PAGE))
        limit = int(limit_text) if re.fullmatch(r"[0-9]{1,4}", limit_text) else 0
        if not 1 <= limit <= settings.MAX_REVIEW_PAGE:
            raise Refused(422, f"limit: a number from 1 to {settings.MAX_REVIEW_PAGE}")
        after = request.query_params.get("after")
        if after is not None and not is_item_id(after):
            raise Refused(422, "after: the identifier of an item")
        if after is not None:
            await find(self._desk, after)
        found = await asyncio.to_thread(look, limit=limit, after=after)
        return JSONResponse(
            {
                "count": await asyncio.to_thread(count),
                "items": [row_document(stored) for stored in found],
                "next": found[-1].id if len(found) == limit else None,
            }
        )

    async def item(self, request: Request) -> Response:
        """One item with all its contributions, verdicts and states."""
        await self._gate.bearer(request)
        return JSONResponse(item_document(await find(self._desk, request.path_params["item"])))

    async def approve(self, request: Request) -> Response:
        """Approve an item; answers with the item as it is then."""
        return await self._decide(request, approve=True)

    async def deny(self, request: Request) -> Response:
        """Deny an item; answers with the item as it is then."""
        return await self._decide(request, approve=False)

    def _way(self, resolution: Resolution) -> Callable[[Request], Awaitable[Response]]:
        async def way(request: Request) -> Response:
            """Go a way on from where the request of an item stands; answers with the item as it is then."""
            moderator = await self._gate.bearer(request)
            body = await read_decision(request)
            stored = await go_on(
                self._desk,
                request.path_params["item"],
                resolution,
                moderator=moderator,
                note=body.note,
                version=body.version,
                content=body.content_sha256,
            )
            return JSONResponse(item_document(stored))

        return way

    async def _decide(self, request: Request, *, approve: bool) -> Response:
        moderator = await self._gate.bearer(request)
        body = await read_decision(request)
        stored = await rule(
            self._desk,
            request.path_params["item"],
            approve=approve,
            moderator=moderator,
            note=body.note,
            version=body.version,
            content=body.content_sha256,
        )
        return JSONResponse(item_document(stored))
