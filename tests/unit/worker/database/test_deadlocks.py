"""What is read from InnoDB's text, on texts of three servers; and that no text is a traceback."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, Self
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql import err
from structlog.testing import capture_logs

from jobs.transaction import Parameters, Row, Statement
from worker.database.deadlock_log import DeadlockLog
from worker.database.deadlock_picture import draw
from worker.database.deadlock_pitfalls import PITFALLS
from worker.database.deadlock_status import Deadlock, DeadlockTransaction, Kind, Lock, parse
from worker.database.deadlock_words import UNREADABLE, as_text, one_line, to_json
from worker.database.deadlocks import Explanation, add_survivors, explain, explain_latest
from worker.database.record_dump import key_of
from worker.database.retry import DatabaseError

FOLDER: Final = Path(__file__).parent / "innodb_status"
FIXTURES: Final = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.txt"))}
SERVERS: Final = ("mariadb-10.11", "mariadb-11.8", "mysql-9.7")
HEAD: Final = "------------------------\nLATEST DETECTED DEADLOCK\n------------------------\n"
RECORD: Final = "RECORD LOCKS space id 1 page no 3 n bits 72 index {} of table `shop`.`stock` trx id {} {}\n"


def read(name: str) -> Deadlock:
    deadlock = parse(FIXTURES[name])
    assert deadlock
    return deadlock


def circle(deadlock: Deadlock) -> set[tuple[int | None, tuple[str, ...], tuple[str, ...], int | None]]:
    """Session, keys held, keys wanted, and the session that is waited for."""
    return {
        (
            one.session_id,
            tuple(key for lock in one.held for key in lock.keys),
            one.wanted.keys if one.wanted else (),
            deadlock.blocker(one).session_id,
        )
        for one in deadlock.transactions
    }


def victim_of(deadlock: Deadlock) -> int | None:
    (session,) = [one.session_id for one in deadlock.transactions if one.number == deadlock.victim]
    return session


@pytest.mark.parametrize("part", ["", "-full"])
@pytest.mark.parametrize("server", SERVERS)
def test_two_transactions_that_lock_in_opposite_order_are_p21(server: str, part: str) -> None:
    deadlock = read(server + part)
    explanation = explain(deadlock)
    assert explanation.pitfall is PITFALLS["P21"]
    first, second = (10, 11) if server == "mysql-9.7" else (5, 6)
    assert circle(deadlock) == {
        (first, ("key (1)",), ("key (2)",), second),
        (second, ("key (2)",), ("key (1)",), first),
    }
    assert victim_of(deadlock) == second
    assert {one.statement for one in deadlock.transactions} == {
        "UPDATE account SET balance = balance + 1 WHERE id = 1",
        "UPDATE account SET balance = balance + 1 WHERE id = 2",
    }
    assert deadlock.detected_at.startswith("2026-11-22 10:27:")
    assert "Pages flushed" not in deadlock.raw


@pytest.mark.parametrize("server", SERVERS)
def test_a_circle_of_three_is_p21_too(server: str) -> None:
    deadlock = read(f"{server}-3way")
    assert explain(deadlock).pitfall is PITFALLS["P21"]
    first, second, third = (12, 13, 14) if server == "mysql-9.7" else (7, 8, 9)
    assert circle(deadlock) == {
        (first, ("key (1)",), ("key (2)",), second),
        (second, ("key (2)",), ("key (3)",), third),
        (third, ("key (3)",), ("key (1)",), first),
    }
    assert victim_of(deadlock) == third


@pytest.mark.parametrize("server", SERVERS)
def test_two_inserts_into_one_gap_are_p26(server: str) -> None:
    deadlock = read(f"{server}-gap")
    explanation = explain(deadlock)
    assert explanation.pitfall is PITFALLS["P26"]
    for one in deadlock.transactions:
        (held,) = one.held
        assert str(held) == "X gap lock on test.booking, index ix_room, before key (20, 20)"
        assert one.wanted
        assert one.wanted.kind is Kind.INSERT_INTENTION
    assert "does not tell this from P29 or P30" in as_text(explanation)


@pytest.mark.parametrize("name", FIXTURES)
def test_every_form_of_an_explanation_tells_who_waits_for_whom(name: str) -> None:
    explanation = explain(read(name))
    deadlock = explanation.deadlock
    text, plain = as_text(explanation), json.loads(json.dumps(to_json(explanation)))
    picture = "".join(ET.fromstring(draw(explanation)).itertext())
    assert "\n" not in one_line(explanation)
    for one in deadlock.transactions:
        waits = f"waits for session {deadlock.blocker(one).session_id}"
        assert waits in picture
        assert f"waited for session {deadlock.blocker(one).session_id}" in text
        assert f"session {one.session_id}" in one_line(explanation)
    assert text.count("the victim") == one_line(explanation).count("(victim)") == 1
    assert [one["victim"] for one in plain["transactions"]].count(True) == 1
    assert plain["pitfall"]["id"] in text.split("\n", 1)[0]


def field(number: int, content: bytes) -> str:
    return f" {number}: len {len(content)}; hex {content.hex()}; asc {' ' * len(content)};;"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ((0x80000001).to_bytes(4, "big"), "1"),
        ((0x7FFFFFFB).to_bytes(4, "big"), "-5"),
        ((7).to_bytes(8, "big"), "7"),
        ((2**63 + 7).to_bytes(8, "big"), "7"),
        ((2**63 - 7).to_bytes(8, "big"), "-7"),
        ((0x19B61234567890AB).to_bytes(8, "big"), "0x19b61234567890ab"),
        (b"\x81", "1"),
        (b"bob", "'bob'"),
        (b"placed    ", "'placed'"),
        ("crème".encode(), "'crème'"),
        (bytes.fromhex("0192a1b2c3d47e5f8a9b0c1d2e3f4051"), "0192a1b2-c3d4-7e5f-8a9b-0c1d2e3f4051"),
        (b"sixteen letters!", "'sixteen letters!'"),
        (b"\x00\xff\x00\xff\x00", "0x00ff00ff00"),
    ],
)
def test_a_key_is_decoded_by_its_look(content: bytes, value: str) -> None:
    assert key_of([field(0, content)], clustered=False) == f"key ({value})"


def test_the_key_of_a_clustered_index_ends_before_the_hidden_columns() -> None:
    hidden = [field(2, bytes(6)), field(3, bytes(7)), field(4, b"more")]
    lines = [field(0, b"\x80\x00\x00\x01"), field(1, b"\x80\x00\x00\x02"), *hidden]
    assert key_of(lines, clustered=True) == "key (1, 2)"
    assert key_of([" 0: SQL NULL;", field(1, b"\x80\x00\x00\x02")], clustered=False) == "key (NULL, 2)"


def test_a_long_field_is_marked_as_cut_and_a_missing_dump_is_no_key() -> None:
    line = f" 0: len 30; hex {b'x'.hex() * 30}; asc {'x' * 30}; (total 255 bytes);"
    assert key_of([line], clustered=False) == f"key ('{'x' * 30}…')"
    assert key_of([], clustered=True) == ""
    assert key_of([field(0, b"supremum")], clustered=True) == "the end of the index"


def two(locks: Sequence[tuple[str, str]], statements: Sequence[str] = ("DELETE", "DELETE")) -> str:
    """A deadlock in MySQL's form: what each of two holds and wants."""
    text = HEAD + "2026-11-22 10:27:41 1397\n"
    for number, (held, wanted) in enumerate(locks, 1):
        text += (
            f"*** ({number}) TRANSACTION:\nTRANSACTION {number}, ACTIVE 0 sec starting index read\n"
            "LOCK WAIT 3 lock struct(s), heap size 1128, 2 row lock(s)\n"
            f"MySQL thread id {number}, OS thread handle 1, query id 1 127.0.0.1 root updating\n"
            f"{statements[number - 1]}\n\n*** ({number}) HOLDS THE LOCK(S):\n{held}\n"
            f"*** ({number}) WAITING FOR THIS LOCK TO BE GRANTED:\n{wanted}\n"
        )
    return text + "*** WE ROLL BACK TRANSACTION (2)\n"


def test_a_table_lock_is_read_and_not_in_the_catalogue() -> None:
    table = "TABLE LOCK table `shop`.`stock` trx id {} lock mode {}\n"
    deadlock = parse(
        two(
            [
                (table.format(1, "IX"), table.format(1, "AUTO-INC waiting")),
                (table.format(2, "AUTO-INC"), table.format(2, "S waiting")),
            ]
        )
    )
    assert deadlock
    explanation = explain(deadlock)
    assert explanation.pitfall is None
    assert [str(one.wanted) for one in deadlock.transactions] == [
        "auto-increment lock on shop.stock",
        "S table lock on shop.stock",
    ]
    assert "a shape that the catalogue does not hold" in as_text(explanation)
    assert to_json(explanation)["pitfall"] is None
    assert "Cure: Lock in one global order" in as_text(explanation)


def test_a_partition_and_an_owner_that_nobody_is_are_read() -> None:
    held = RECORD.format("PRIMARY", 99, "lock_mode X locks rec but not gap").replace(
        "`stock`", "`stock` /* Partition `p1` */"
    )
    wanted = RECORD.format("`PRIMARY`", 1, "lock_mode X locks rec but not gap waiting")
    deadlock = parse(two([(held, wanted), (held, wanted)]))
    assert deadlock
    assert [one.held[0].table for one in deadlock.transactions] == ["shop.stock", "shop.stock"]
    assert [one.wanted.index for one in deadlock.transactions if one.wanted] == ["PRIMARY", "PRIMARY"]


def test_no_deadlock_yet_is_none() -> None:
    assert parse("") is None
    assert parse("------------\nTRANSACTIONS\n------------\n") is None


def test_what_cannot_be_read_is_given_raw_after_a_sentence() -> None:
    deadlock = parse(HEAD + "2026-11-22 10:27:41 1397\nTOO DEEP OR LONG SEARCH IN THE LOCK TABLE\n")
    assert deadlock
    explanation = explain(deadlock)
    assert as_text(explanation) == f"{UNREADABLE}\n\n{deadlock.raw}"
    assert one_line(explanation) == "a deadlock that cannot be read"
    assert to_json(explanation)["readable"] is False
    assert "TOO DEEP" in draw(explanation)


def test_text_of_users_is_no_markup_and_no_terminal_command() -> None:
    lock = RECORD.format("PRIMARY", "{}", "lock_mode X locks rec but not gap")
    evil = "DELETE FROM `<script>` WHERE x = '\x1b[2J\x00&'"
    deadlock = parse(
        two([(lock.format(1), lock.format(1)), (lock.format(2), lock.format(2))], [evil, "DELETE"])
    )
    assert deadlock
    explanation = explain(deadlock)
    assert "\x1b" not in as_text(explanation) + one_line(explanation)
    ET.fromstring(draw(explanation))
    assert "<script>" not in draw(explanation)


def run_every_form(text: str) -> None:
    deadlock = parse(text)
    if deadlock:
        explanation = explain(deadlock)
        as_text(explanation)
        one_line(explanation)
        json.dumps(to_json(explanation))
        ET.fromstring(draw(explanation))


@given(st.sampled_from(sorted(FIXTURES)), st.integers(0, 4000), st.integers(0, 4000))
def test_a_truncated_text_never_raises(name: str, begin: int, length: int) -> None:
    run_every_form(FIXTURES[name][: begin + length])
    run_every_form(HEAD + FIXTURES[name][begin : begin + length])


@given(st.sampled_from(sorted(FIXTURES)), st.integers(0, 2**32))
def test_a_shuffled_text_never_raises(name: str, seed: int) -> None:
    lines = FIXTURES[name].split("\n")
    Random(seed).shuffle(lines)
    run_every_form(HEAD + "\n".join(lines))
    words = FIXTURES[name].split(" ")
    Random(seed).shuffle(words)
    run_every_form(HEAD + " ".join(words))


@given(st.text())
def test_any_text_never_raises(text: str) -> None:
    run_every_form(text)
    run_every_form(HEAD + text)
    run_every_form(FIXTURES["mysql-9.7"].replace("UPDATE account", text))


class Answers:
    """A reader with fixed answers; an integer is the error that a statement ends in."""

    def __init__(self, **answers: Sequence[Row] | int) -> None:
        self._answers = answers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def fetch(self, statement: Statement, parameters: Parameters) -> Sequence[Row]:  # noqa: ARG002  # the port wants it
        answer = self._answers[statement.name]
        if isinstance(answer, int):
            raise DatabaseError(statement.name, err.OperationalError(answer, "no"))
        return answer


def status(name: str) -> list[dict[str, Any]]:
    return [{"Status": FIXTURES[name]}]


async def test_a_server_without_a_deadlock_is_explained_by_none() -> None:
    assert await explain_latest(Answers(innodb_status=[{"Status": "nothing"}])) is None


async def test_an_error_that_is_no_lack_of_rights_is_raised() -> None:
    with pytest.raises(DatabaseError, match="innodb_status: 1064"):
        await explain_latest(Answers(innodb_status=1064))
    explanation = await explain_latest(Answers(innodb_status=status("mysql-9.7")))
    assert explanation
    with pytest.raises(DatabaseError, match="locks_on_mysql: 1064"):
        await add_survivors(Answers(locks_on_mysql=1064), explanation)


def a_row(mode: str, kind: str = "RECORD", state: str = "GRANTED", data: str | None = "1") -> Row:
    return {
        "transaction_id": 31, "table_name": "`shop`.`stock`", "index_name": "PRIMARY",
        "lock_type": kind, "lock_mode": mode, "lock_data": data, "lock_status": state,
    }  # fmt: skip


async def test_the_locks_of_survivors_are_told_where_the_server_tells_them() -> None:
    explanation = explain(read("mysql-9.7"))
    rows = [
        a_row("X,REC_NOT_GAP"),
        a_row("S,GAP"),
        a_row("X", data=None),
        a_row("X,GAP,INSERT_INTENTION"),
        a_row("AUTO_INC", "TABLE", data=None),
        a_row("X", "TABLE", data=None),
        a_row("IX", "TABLE", data=None),
        a_row("X,REC_NOT_GAP", state="WAITING"),
    ]
    told = await add_survivors(Answers(locks_on_mysql=rows, locks_on_mariadb=1109), explanation)
    assert [(lock.mode, lock.kind) for lock in told.still_held] == [
        ("X", Kind.RECORD),
        ("S", Kind.GAP),
        ("X", Kind.NEXT_KEY),
        ("X", Kind.INSERT_INTENTION),
        ("AUTO_INC", Kind.AUTO_INCREMENT),
        ("X", Kind.TABLE),
    ]
    assert str(told.still_held[0]) == "X record lock on shop.stock, index PRIMARY, key (1)"
    assert "Still locked at this moment:" in as_text(told)


def upgrade(undo_entries: int, lock_structs: int) -> Deadlock:
    """Two shared locks of a row, and two updates of it."""

    def one(number: int) -> DeadlockTransaction:
        held = Lock(str(number), "shop.parent", "PRIMARY", "S", Kind.RECORD, keys=("key (1)",))
        wanted = Lock(
            str(number), "shop.parent", "PRIMARY", "X", Kind.RECORD, waiting=True, keys=("key (1)",)
        )
        return DeadlockTransaction(
            number=number,
            transaction_id=str(number),
            session_id=number,
            statement="UPDATE parent SET children = 1",
            lock_structs=lock_structs,
            undo_entries=undo_entries,
            held=(held,),
            wanted=wanted,
        )

    return Deadlock("raw", transactions=(one(1), one(2)), victim=1)


@pytest.mark.parametrize(
    ("deadlock", "parents", "pitfall"),
    [
        (upgrade(1, 5), None, "P37"),
        (upgrade(1, 5), frozenset({"shop.parent"}), "P37"),
        (upgrade(1, 5), frozenset({"shop.other"}), "P39"),
        (upgrade(0, 4), None, "P39"),
        (upgrade(0, 3), None, "P33"),
    ],
)
def test_a_shared_lock_that_is_upgraded_tells_its_origin_by_the_locks_around_it(
    deadlock: Deadlock, parents: frozenset[str] | None, pitfall: str
) -> None:
    assert explain(deadlock, parents).pitfall is PITFALLS[pitfall]


def test_every_alternative_that_has_an_entry_is_named_with_it() -> None:
    text = as_text(Explanation(read("mysql-9.7"), PITFALLS["P27"]))
    assert f"from P26 ({PITFALLS['P26'].name}) or P29 or P30." in text


async def test_the_log_keeps_quiet_about_a_deadlock_of_others_and_survives_errors() -> None:
    with capture_logs() as logs:
        for answers in (Answers(innodb_status=status("mysql-9.7")), Answers(innodb_status=2013)):
            log = DeadlockLog(lambda answers=answers: answers)  # type: ignore[misc]
            log.note(12345, "take")
            log.note(12345, "take")
            assert log._task
            await log._task
            await log.close()
    assert [line["event"] for line in logs] == ["deadlock not explained"]
    await DeadlockLog(Answers).close()
