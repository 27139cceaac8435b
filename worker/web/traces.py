"""What a request sets in motion goes on with the trace of whoever sends it."""

from aiohttp import web
from aiohttp.typedefs import Handler

from worker import tracing


@web.middleware
async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A span for each request that is to change something; its parent is the header `traceparent`."""
    resource = request.match_info.route.resource
    if request.method != "POST" or resource is None:
        return await handler(request)
    parent = tracing.valid(request.headers.get("traceparent"))
    with tracing.span(f"POST {resource.canonical}", "SERVER", parent=parent):
        return await handler(request)
