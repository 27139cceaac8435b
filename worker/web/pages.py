"""The same content as JSON for programs, and as a page for whoever asks for HTML: a browser."""

from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from jobs.orders.storefront import Shown
from worker.web.bodies import answer
from worker.web.problems import PROBLEM, ProblemBody

_FOLDER: Final = Path(__file__).parent / "templates"
_HTML: Final = ("text/html", "text/*", "*/*")
_JSON: Final = ("application/json", "application/*", "*/*")


def respond(
    request: web.Request, template: str, content: Shown, *, following: str | None, customer_id: int | None
) -> web.Response:
    """The content of a page; `following` is the address of the page after it, `customer_id` who looks at it."""
    headers = {"Vary": "Accept", "Cache-Control": "no-store"}
    if following:
        headers["Link"] = f'<{following}>; rel="next"'
    if not wants_html(request):
        return answer(content, HTTPStatus.OK, headers)
    page = _templates.get_template(template).render(
        dict(content), following=following, customer_id=customer_id
    )
    return web.Response(text=page, content_type="text/html", headers=headers | _PROTECTION)


@web.middleware
async def problem_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whoever asks for pages is told of a problem on one."""
    response = await handler(request)
    if isinstance(response, web.Response) and response.content_type == PROBLEM:
        response.headers["Vary"] = "Accept"
        if wants_html(request):
            problem = ProblemBody.model_validate_json(response.text or "")
            response.text = _templates.get_template("problem.html").render(dict(problem), customer_id=None)
            response.content_type = "text/html"
            response.headers.update(_PROTECTION)
    return response


def wants_html(request: web.Request) -> bool:
    """Whether HTML is liked better than JSON, by the most exact of the ranges that name it (RFC 9110, 12.5.1)."""
    liked = dict(map(_range, ",".join(request.headers.getall("Accept", ["*/*"])).split(",")))
    html, json = (next((liked[kind] for kind in kinds if kind in liked), 0.0) for kinds in (_HTML, _JSON))
    return html > json


def _range(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    return kind, float(quality) if quality.replace(".", "", 1).isdecimal() else 0.0


def _money(cents: int) -> str:
    return f"${cents // 100:,}.{cents % 100:02}"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_STYLE: Final = (_FOLDER / "shop.css").read_text(encoding="utf-8")
_SCRIPT: Final = (_FOLDER / "shop.js").read_text(encoding="utf-8")
# No more than this style and this script, which talks to nobody but this server.
_PROTECTION: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; img-src data:;"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_templates: Final = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals.update(style=_STYLE, script=_SCRIPT)
_templates.filters["money"] = _money
