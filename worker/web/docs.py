"""The contract to be read: by programs as OpenAPI, by people as a page that asks no other server for anything."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from aiohttp import web
from jinja2 import Environment, StrictUndefined

from worker.web.contract import document

_FOLDER: Final = Path(__file__).parent / "templates"
_STYLE: Final = (_FOLDER / "docs.css").read_text(encoding="utf-8")
_PROTECTION: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}
routes: Final = web.RouteTableDef()


@routes.get("/openapi.json")
async def show_document(_: web.Request) -> web.Response:
    """For programs."""
    return web.json_response(document())


@routes.get("/docs")
async def show_page(_: web.Request) -> web.Response:
    """For people."""
    return web.Response(text=_page(), content_type="text/html", headers=_PROTECTION)


@cache
def _page() -> str:
    templates = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = templates.from_string((_FOLDER / "docs.html").read_text(encoding="utf-8"))
    return template.render(document=document(), style=_STYLE)
