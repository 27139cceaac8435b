"""The live page in a real browser, with a real `lockstep web` and real workers behind it."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import pytest
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from jobs.api_keys import add_key, new_key
from tests.asking import PATIENCE_SECONDS, PATIENT, Session, until, until_waiting
from tests.end_to_end.browsing import POOR_CONTRASTS, opened_page, running_browser, too_wide, unnamed
from tests.end_to_end.conftest import StartWorker, WorkerProcess
from tests.end_to_end.own_servers import free_port
from tests.end_to_end.patience import PATIENT_VARIABLES
from tests.shop import an_order, broken_invariants, open_shop
from worker.client import OrderClient
from worker.database.transactions import Database
from worker.settings import Settings

WEB: Final = ("worker", "web", "--port")
MENDED: Final = "UPDATE customers SET balance_cents = 0 WHERE customer_id = 9"
POISON: Final = "UPDATE customers SET balance_cents = 18446744073709551615 WHERE customer_id = 9"
UNKNOWN: Final = "\N{EN DASH}"
PHONE: Final = {"width": 390, "height": 844}
WALL: Final = {"width": 1280, "height": 800}

expect.set_options(timeout=1000 * PATIENCE_SECONDS)


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """With limits that a slow machine keeps."""
    return environment | PATIENT_VARIABLES


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests."""
    async with running_browser() as started:
        yield started


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
async def web(settings: Settings, start_worker: StartWorker, port: int) -> WorkerProcess:
    """`lockstep web`, when it listens."""
    return await start_web(start_worker, port)


async def start_web(start_worker: StartWorker, port: int, **settings: object) -> WorkerProcess:
    process: WorkerProcess = start_worker((*WEB, str(port)), **settings)

    async def listens() -> bool:
        assert process.process.poll() is None, process.log.read_text()
        return "listening" in process.log.read_text()

    await until(listens, "the web to listen")
    return process


@pytest.fixture
async def page(browser: Browser, web: WorkerProcess, port: int) -> AsyncIterator[Page]:
    """The page, on a wall; whatever the browser complains of fails the test."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        asked_for_a_key = "401 (Unauthorized)" in message.text  # the browser itself notes each such answer
        if message.type in {"error", "warning"} and not asked_for_a_key:
            complaints.append(message.text)

    async with opened_page(browser, f"http://127.0.0.1:{port}", viewport=WALL) as opened:
        opened.on("console", note)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        await opened.goto("/")
        await expect(opened.locator("#link")).to_have_text("live")
        yield opened
    assert complaints == []


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[OrderClient]:
    async with OrderClient.connect(settings.redis_url) as connected:
        yield connected


async def place(client: OrderClient, lines: dict[int, int], customer_id: int = 1) -> str:
    """An order's status, when it has one."""
    receipt = await client.place(an_order(lines, customer_id=customer_id))
    return (await receipt.outcome(PATIENCE_SECONDS)).status


async def deadlock(client: OrderClient, session: Session, other_session: Session) -> None:
    """Between a session and an order of a real worker, which is the victim and is tried again."""
    await session.run("BEGIN")
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id >= 2")
    order = asyncio.create_task(place(client, {1: 1, 2: 1}))
    await until_waiting(other_session, 1)
    await session.run("UPDATE stock SET available = available + 1 WHERE product_id = 1")
    await session.run("COMMIT")
    assert await order == "placed"


async def bury(client: OrderClient, session: Session) -> str:
    """An order that is dead for a fault that is mended then; its id."""
    await session.run(POISON)
    order = an_order({1: 1}, customer_id=9)
    outcome = await (await client.place(order)).outcome(PATIENCE_SECONDS)
    assert outcome.status == "dead"
    await session.run(MENDED)
    return str(order.order_id)


async def number(page: Page, place: str) -> float:
    """What stands there; nothing where it is not known yet."""
    text = (await page.locator(place).inner_text()).replace(",", "")
    return float(text) if text.replace(".", "").isdecimal() else 0.0


async def test_an_empty_system_shows_what_to_do_next(
    page: Page, database: Database, start_worker: StartWorker
) -> None:
    steps = page.get_by_role("region", name="What to do next")
    await expect(steps).to_contain_text("lockstep worker", use_inner_text=True)
    await expect(steps).to_contain_text("lockstep catalogue load", use_inner_text=True)
    await open_shop(database, {1: 5})
    await expect(steps).not_to_contain_text("catalogue", use_inner_text=True)
    start_worker(**PATIENT)
    await expect(steps).not_to_contain_text("Start a worker", use_inner_text=True)
    await expect(steps).to_contain_text("lockstep enqueue", use_inner_text=True)


async def test_the_numbers_move_while_orders_run(
    page: Page, database: Database, client: OrderClient, start_worker: StartWorker
) -> None:
    await open_shop(database, {1: 1_000_000, 2: 1_000_000, 3: 1})
    worker = start_worker()
    await expect(page.locator("#workers tbody tr")).to_contain_text(str(worker.process.pid))
    placed = page.locator("#outcomes tbody tr", has_text="placed").locator("td").first

    async def moves() -> bool:
        await asyncio.gather(*(place(client, {1: 1, 2: 1}) for _ in range(20)), place(client, {3: 2}))
        return await number(page, "#rate") > 0 and await placed.count() == 1

    await until(moves, "orders per second")
    before = await number(page, "#outcomes tbody tr >> nth=0 >> td >> nth=0")

    async def more() -> bool:
        await asyncio.gather(*(place(client, {1: 1}) for _ in range(20)))
        return await number(page, "#outcomes tbody tr >> nth=0 >> td >> nth=0") > before

    await until(more, "more orders")
    await expect(page.locator("#next")).to_be_hidden()
    await expect(page.locator("#outcomes")).to_contain_text("rejected: insufficient stock")
    await expect(page.locator("#products tbody tr").first).to_contain_text("product 1")
    await expect(page.get_by_role("link", name="product 2 #2")).to_have_attribute("href", "/product/2")

    async def measured() -> bool:
        """Of the jobs of the last seconds alone."""
        await place(client, {1: 1})
        return "s" in await page.locator("#p99").inner_text()

    await until(measured, "the 99th percentile")
    assert await page.locator("#rate-curve .line").count() > 0
    await expect(page.locator("#rate")).to_have_text("0")  # and it falls again


async def test_a_page_that_is_opened_later_shows_every_order_of_a_worker_that_was_killed(
    browser: Browser,
    web: WorkerProcess,
    port: int,
    database: Database,
    client: OrderClient,
    redis: ArqRedis,
    settings: Settings,
    start_worker: StartWorker,
) -> None:
    await open_shop(database, {1: 5})
    killed = start_worker(**PATIENT)
    for _ in range(6):
        await place(client, {1: 1})

    async def published() -> bool:
        return bool(await redis.xlen(settings.events_stream) == 6)

    await until(published, "the events of the orders")
    killed.kill()
    start_worker(**PATIENT)
    async with opened_page(browser, f"http://127.0.0.1:{port}") as page:
        await page.goto("/")
        await expect(page.locator("#products tbody tr").first).to_contain_text("product 1")
        await expect(page.locator("#products-about")).to_have_text(
            "of the 5 orders placed within the last minute"
        )
        assert await number(page, "#products tbody tr >> nth=0 >> td >> nth=0") == 5
        assert await number(page, "#outcomes tbody tr >> nth=0 >> td >> nth=0") == 5
        await expect(page.locator("#outcomes")).to_contain_text("rejected: insufficient stock")
        await expect(page.locator("#next")).to_be_hidden()

        async def drawn() -> bool:
            return (
                await number(page, "#rate-peak") > 0 and await page.locator("#rate-curve .line").count() > 0
            )

        await until(drawn, "the curve, when the second of the orders is over")


async def test_a_page_that_is_opened_in_an_outage_does_not_say_that_there_is_nothing(
    browser: Browser, settings: Settings, start_worker: StartWorker, port: int
) -> None:
    await start_web(start_worker, port, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    async with opened_page(browser, f"http://127.0.0.1:{port}") as page:
        await page.goto("/")
        await expect(page.locator("#troubles")).to_contain_text("Redis does not answer")
        for tile in ("outcomes", "products", "workers", "conflicts", "letters", "deadlock"):
            await expect(page.locator(f"#{tile}-none")).to_have_text("not known")
        for table in ("outcomes", "products", "workers", "conflicts", "letters"):
            await expect(page.locator(f"#{table}")).to_be_hidden()
        await expect(page.locator("#products-about")).to_contain_text(f"of the {UNKNOWN} orders")
        assert await page.locator("#alive").inner_text() == UNKNOWN


async def test_a_forced_deadlock_appears_as_a_picture_with_its_words(
    page: Page,
    database: Database,
    client: OrderClient,
    start_worker: StartWorker,
    session: Session,
    other_session: Session,
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 200), 5))
    start_worker(**PATIENT)
    await expect(page.locator("#workers tbody tr")).to_have_count(1)
    tile = page.get_by_role("region", name="Last deadlock")
    await expect(tile).to_contain_text("none within a day")
    await deadlock(client, session, other_session)
    picture = tile.get_by_role("img", name="Who waited for whom")
    await expect(picture).to_be_visible()
    await page.wait_for_function("() => document.getElementById('deadlock-picture').naturalWidth > 0")
    await expect(tile).to_contain_text("P21: rows locked in opposite order")
    await expect(tile).to_contain_text("ran lock_stock, held X record lock")
    await expect(tile).to_contain_text("met by the job place_orders")
    await expect(tile).to_contain_text("Cure: Lock the rows of every transaction in one global order")
    conflict = page.get_by_role("row", name="deadlock (1213) lock_stock 1")
    await expect(conflict).to_be_visible()


async def test_a_dead_letter_is_replayed_by_its_button(
    page: Page,
    database: Database,
    client: OrderClient,
    redis: ArqRedis,
    start_worker: StartWorker,
    session: Session,
) -> None:
    key = new_key()
    await database.transact(partial(add_key, name="wall", key=key), job="test")
    await open_shop(database, {1: 5})
    start_worker(**PATIENT)
    order_id = await bury(client, session)
    button = page.get_by_role("button", name=f"Replay {order_id}")
    await expect(page.locator("#letters-count")).to_have_text("1")
    await expect(page.locator("#letters")).to_contain_text("move_balances: 1690")
    asked = page.get_by_role("dialog", name="Replay a dead letter")
    said = page.locator("#said")

    await button.click()
    await expect(asked).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(said).to_contain_text("this needs a key")
    await button.click()
    await asked.get_by_label("API key").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(said).to_contain_text("there is no such key")
    await button.focus()
    await page.keyboard.press("Enter")
    await asked.get_by_label("API key").fill(key)
    await asked.get_by_role("button", name="Replay").click()
    await expect(said).to_have_text(f"{order_id}: placed")
    await expect(page.locator("#letters-count")).to_have_text("0")
    await expect(page.locator("#letters-none")).to_be_visible()
    assert not await broken_invariants(database)

    await redis.set(job_key_prefix + "strange", b"\xc1")
    await redis.zadd("arq:queue", {"strange": 1})
    await page.get_by_role("button", name="Replay strange").click()
    await expect(said).to_contain_text("strange: its letter is kept: ")
    await expect(page.locator("#letters-count")).to_have_text("1")


async def test_a_server_that_stops_lets_its_watchers_go_and_they_come_again(
    browser: Browser, web: WorkerProcess, start_worker: StartWorker, port: int
) -> None:
    """Here the browser complains, and rightly so."""
    async with opened_page(browser, f"http://127.0.0.1:{port}") as page:
        await page.goto("/")
        link = page.locator("#link")
        await expect(link).to_have_text("live")
        assert await web.terminate() == 0
        await expect(link).to_contain_text("connection lost")
        await start_web(start_worker, port)
        await expect(link).to_have_text("live")


async def test_a_full_page_fits_a_phone_and_is_fit_for_everybody(
    browser: Browser,
    web: WorkerProcess,
    port: int,
    database: Database,
    client: OrderClient,
    redis: ArqRedis,
    start_worker: StartWorker,
    session: Session,
    other_session: Session,
) -> None:
    await open_shop(database, dict.fromkeys(range(1, 200), 50))
    await session.run(f"UPDATE products SET name = '{'Wholemeal' * 20}' WHERE product_id = 1")
    start_worker(**PATIENT)
    await bury(client, session)
    await redis.set(job_key_prefix + "x" * 500, b"\xc1")
    await redis.zadd("arq:queue", {"x" * 500: 1})
    await deadlock(client, session, other_session)
    for scheme in ("light", "dark"):
        for viewport in (PHONE, WALL):
            options = {"viewport": viewport, "color_scheme": scheme, "reduced_motion": "reduce"}
            async with opened_page(browser, f"http://127.0.0.1:{port}", **options) as page:
                await place(client, {1: 1})  # within the last minute, however slow the machine
                await page.goto("/")
                await expect(page.locator("#letters tbody tr")).to_have_count(2)
                await expect(page.locator("#deadlock-picture")).to_be_visible()
                await expect(page.locator("#products tbody tr").first).to_be_visible()
                assert await too_wide(page) == []
                assert await unnamed(page) == []
                assert await page.evaluate(POOR_CONTRASTS) == []
                motion = "getComputedStyle(document.querySelector('.dot')).animationName"
                assert await page.evaluate(motion) == "none"


async def test_landmarks_headings_and_keys_lead_through_the_page(page: Page) -> None:
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        await expect(page.get_by_role(landmark)).to_have_count(1)
    await expect(page.get_by_role("heading", level=1)).to_have_count(1)
    await page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the numbers")
    await expect(skip).to_be_focused()
    outline = await skip.evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline == "solid"
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    live = await page.evaluate("[...document.querySelectorAll('[role=status],[aria-live]')].map((e) => e.id)")
    assert sorted(live) == ["link", "said", "troubles"], "no number that changes each second is read out"
