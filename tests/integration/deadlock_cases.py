"""Schedules that deadlock, by the pitfall that each is: those of the catalogue, then variants of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

ROWS: Final = (
    (
        "CREATE TABLE shelf (id INT NOT NULL PRIMARY KEY, a INT NOT NULL, b INT NOT NULL, note INT NOT NULL,"
        " KEY ka (a), KEY kb (b)) ENGINE = InnoDB"
    ),
    "INSERT INTO shelf VALUES (1, 30, 10, 0), (2, 20, 20, 0), (3, 10, 30, 0)",
)
MANY_ROWS: Final = (
    *ROWS,
    (
        "INSERT INTO shelf SELECT 100 + ROW_NUMBER() OVER (), 1000, 1000, 0"
        " FROM shelf a JOIN shelf b JOIN shelf c JOIN shelf d JOIN shelf e JOIN shelf f"
    ),
    "ANALYZE TABLE shelf",
)
PARENT: Final = (
    "CREATE TABLE parent (id INT NOT NULL PRIMARY KEY, children INT NOT NULL) ENGINE = InnoDB",
    (
        "CREATE TABLE child (id INT NOT NULL PRIMARY KEY, parent_id INT NOT NULL,"
        " FOREIGN KEY (parent_id) REFERENCES parent (id)) ENGINE = InnoDB"
    ),
    "INSERT INTO parent VALUES (1, 0)",
)
UUIDS: Final = (
    "CREATE TABLE parcel (id BINARY(16) NOT NULL PRIMARY KEY, note INT NOT NULL) ENGINE = InnoDB",
    "INSERT INTO parcel VALUES (UNHEX(REPEAT('a1', 16)), 0), (UNHEX(REPEAT('b2', 16)), 0)",
)


@dataclass(frozen=True)
class Case:
    """A deadlock: each step is a session's number and its statement. The last step closes the circle."""

    pitfall: str
    name: str
    steps: Sequence[tuple[int, str]]
    tables: Sequence[str] = ROWS
    before: Sequence[str] = ()  # for each session
    named: str | None = None  # where InnoDB's text cannot tell it from another


CASES: Final = [
    Case(
        "P21",
        "opposite order",
        [
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
            (2, "UPDATE shelf SET note = 1 WHERE id = 2"),
            (1, "UPDATE shelf SET note = 2 WHERE id = 2"),
            (2, "UPDATE shelf SET note = 2 WHERE id = 1"),
        ],
    ),
    Case(
        "P21",
        "opposite order of locking reads",
        [
            (1, "SELECT * FROM shelf WHERE id = 1 FOR UPDATE"),
            (2, "SELECT * FROM shelf WHERE id = 2 FOR UPDATE"),
            (1, "SELECT * FROM shelf WHERE id = 2 FOR UPDATE"),
            (2, "SELECT * FROM shelf WHERE id = 1 FOR UPDATE"),
        ],
    ),
    Case(
        "P21",
        "circle of three",
        [
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
            (2, "UPDATE shelf SET note = 1 WHERE id = 2"),
            (3, "UPDATE shelf SET note = 1 WHERE id = 3"),
            (1, "UPDATE shelf SET note = 2 WHERE id = 2"),
            (2, "UPDATE shelf SET note = 2 WHERE id = 3"),
            (3, "UPDATE shelf SET note = 2 WHERE id = 1"),
        ],
    ),
    Case(
        "P22",
        "index order",
        [
            (1, "SELECT * FROM shelf WHERE id = 1 FOR UPDATE"),
            (2, "SELECT * FROM shelf FORCE INDEX (ka) WHERE a > 0 ORDER BY id FOR UPDATE"),
            (1, "SELECT * FROM shelf WHERE id = 3 FOR UPDATE"),
        ],
    ),
    Case(
        "P23",
        "descending scan",
        [
            (1, "SELECT * FROM shelf WHERE id = 1 FOR UPDATE"),
            (2, "SELECT * FROM shelf WHERE id IN (1, 2) ORDER BY id DESC FOR UPDATE"),
            (1, "SELECT * FROM shelf WHERE id = 2 FOR UPDATE"),
        ],
    ),
    Case(
        "P24",
        "two access paths",
        [
            (3, "SELECT * FROM shelf WHERE id = 2 FOR UPDATE"),
            (1, "UPDATE shelf FORCE INDEX (ka) SET note = 1 WHERE a BETWEEN 5 AND 35"),
            (2, "UPDATE shelf FORCE INDEX (kb) SET note = 2 WHERE b BETWEEN 5 AND 35"),
            (3, "ROLLBACK"),
        ],
    ),
    Case(
        "P25",
        "secondary against primary",
        [
            (2, "SELECT * FROM shelf WHERE id = 1 FOR UPDATE"),
            (1, "UPDATE shelf SET note = 1 WHERE a = 30"),
            (2, "UPDATE shelf SET a = 31 WHERE id = 1"),
        ],
    ),
    Case(
        "P26",
        "insert if missing",
        [
            (1, "SELECT * FROM shelf WHERE id = -5 FOR UPDATE"),
            (2, "SELECT * FROM shelf WHERE id = -5 FOR UPDATE"),
            (1, "INSERT INTO shelf VALUES (-5, 1, 1, 1)"),
            (2, "INSERT INTO shelf VALUES (-5, 1, 1, 1)"),
        ],
    ),
    Case(
        "P27",
        "end of the index",
        [
            (1, "SELECT * FROM shelf WHERE id = 100 FOR UPDATE"),
            (2, "SELECT * FROM shelf WHERE id = 101 FOR UPDATE"),
            (1, "INSERT INTO shelf VALUES (100, 1, 1, 1)"),
            (2, "INSERT INTO shelf VALUES (101, 1, 1, 1)"),
        ],
    ),
    Case(
        "P29",
        "update nothing then insert",
        [
            (1, "UPDATE shelf SET note = 1 WHERE id = -5"),
            (2, "UPDATE shelf SET note = 1 WHERE id = -4"),
            (1, "INSERT INTO shelf VALUES (-5, 1, 1, 1)"),
            (2, "INSERT INTO shelf VALUES (-4, 1, 1, 1)"),
        ],
        named="P26",
    ),
    Case(
        "P30",
        "delete nothing then insert",
        [
            (1, "DELETE FROM shelf WHERE a = 15"),
            (2, "DELETE FROM shelf WHERE a = 16"),
            (1, "INSERT INTO shelf VALUES (15, 15, 1, 1)"),
            (2, "INSERT INTO shelf VALUES (16, 16, 1, 1)"),
        ],
        named="P26",
    ),
    Case(
        "P31",
        "duplicate key after a rollback",
        [
            (1, "INSERT INTO shelf VALUES (5, 1, 1, 1)"),
            (2, "INSERT INTO shelf VALUES (5, 1, 1, 1)"),
            (3, "INSERT INTO shelf VALUES (5, 1, 1, 1)"),
            (1, "ROLLBACK"),
        ],
    ),
    Case(
        "P32",
        "duplicate key after a delete",
        [
            (1, "DELETE FROM shelf WHERE id = 2"),
            (2, "INSERT INTO shelf VALUES (2, 1, 1, 1)"),
            (3, "INSERT INTO shelf VALUES (2, 1, 1, 1)"),
            (1, "COMMIT"),
        ],
    ),
    Case(
        "P33",
        "duplicate key then update",
        [
            (1, "INSERT INTO shelf VALUES (2, 1, 1, 1)"),
            (2, "INSERT INTO shelf VALUES (2, 1, 1, 1)"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 2"),
            (2, "UPDATE shelf SET note = 2 WHERE id = 2"),
        ],
    ),
    Case(
        "P34",
        "insert ignore then update",
        [
            (1, "INSERT IGNORE INTO shelf VALUES (2, 1, 1, 1)"),
            (2, "INSERT IGNORE INTO shelf VALUES (2, 1, 1, 1)"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 2"),
            (2, "UPDATE shelf SET note = 2 WHERE id = 2"),
        ],
        named="P33",
    ),
    Case(
        "P35",
        "upserts in opposite order",
        [
            (1, "INSERT INTO shelf VALUES (1, 1, 1, 1) ON DUPLICATE KEY UPDATE note = 1"),
            (2, "INSERT INTO shelf VALUES (2, 1, 1, 1) ON DUPLICATE KEY UPDATE note = 1"),
            (1, "INSERT INTO shelf VALUES (2, 1, 1, 1) ON DUPLICATE KEY UPDATE note = 1"),
            (2, "INSERT INTO shelf VALUES (1, 1, 1, 1) ON DUPLICATE KEY UPDATE note = 1"),
        ],
    ),
    Case(
        "P36",
        "replaces in opposite order",
        [
            (1, "REPLACE INTO shelf VALUES (1, 1, 1, 1)"),
            (2, "REPLACE INTO shelf VALUES (3, 1, 1, 1)"),
            (1, "REPLACE INTO shelf VALUES (3, 1, 1, 1)"),
            (2, "REPLACE INTO shelf VALUES (1, 1, 1, 1)"),
        ],
    ),
    Case(
        "P37",
        "foreign key",
        [
            (1, "INSERT INTO child VALUES (1, 1)"),
            (2, "INSERT INTO child VALUES (2, 1)"),
            (1, "UPDATE parent SET children = children + 1 WHERE id = 1"),
            (2, "UPDATE parent SET children = children + 1 WHERE id = 1"),
        ],
        PARENT,
    ),
    Case(
        "P39",
        "shared lock then update",
        [
            (1, "SELECT * FROM shelf WHERE id = 1 LOCK IN SHARE MODE"),
            (2, "SELECT * FROM shelf WHERE id = 1 LOCK IN SHARE MODE"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
            (2, "UPDATE shelf SET note = 2 WHERE id = 1"),
        ],
    ),
    Case(
        "P41",
        "missing index",
        [
            (1, "UPDATE shelf SET note = 1 WHERE id = 2"),
            (2, "UPDATE shelf SET a = 5 WHERE note = 7"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
        ],
    ),
    # Below: the same pitfalls in a shape that differs from the catalogue's schedule.
    Case(
        "P21",
        "opposite order under read committed, keys that are UUIDs",
        [
            (1, "UPDATE parcel SET note = 1 WHERE id = UNHEX(REPEAT('a1', 16))"),
            (2, "UPDATE parcel SET note = 1 WHERE id = UNHEX(REPEAT('b2', 16))"),
            (1, "UPDATE parcel SET note = 2 WHERE id = UNHEX(REPEAT('b2', 16))"),
            (2, "DELETE FROM parcel WHERE id = UNHEX(REPEAT('a1', 16))"),
        ],
        UUIDS,
        before=["SET TRANSACTION ISOLATION LEVEL READ COMMITTED"],
    ),
    Case(
        "P21",
        "two tables in opposite order, one of them locked shared",
        [
            (1, "SELECT * FROM shelf WHERE id = 1 LOCK IN SHARE MODE"),
            (2, "UPDATE parent SET children = 1 WHERE id = 1"),
            (1, "UPDATE parent SET children = 2 WHERE id = 1"),
            (2, "UPDATE shelf SET note = 1 WHERE id = 1"),
        ],
        (*ROWS, *PARENT),
    ),
    Case(
        "P21",
        "shared locks of two rows, then updates crosswise",
        [
            (1, "SELECT * FROM shelf WHERE id = 1 LOCK IN SHARE MODE"),
            (2, "SELECT * FROM shelf WHERE id = 2 LOCK IN SHARE MODE"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 2"),
            (2, "UPDATE shelf SET note = 2 WHERE id = 1"),
        ],
    ),
    Case(
        "P22",
        "index order without a hint, single keys of the index",
        [
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
            (2, "UPDATE shelf SET note = note + 1 WHERE a IN (10, 20, 30)"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 3"),
        ],
        MANY_ROWS,
        named="P21",
    ),
    Case(
        "P22",
        "index order without a hint, an update against single rows",
        [
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
            (2, "UPDATE shelf SET note = note + 1 WHERE a BETWEEN 5 AND 35"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 3"),
        ],
        MANY_ROWS,
    ),
    Case(
        "P37",
        "foreign key, with another write before it",
        [
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
            (2, "UPDATE shelf SET note = 1 WHERE id = 2"),
            (1, "INSERT INTO child VALUES (1, 1)"),
            (2, "INSERT INTO child VALUES (2, 1)"),
            (1, "DELETE FROM parent WHERE id = 1"),
            (2, "UPDATE parent SET children = children + 1 WHERE id = 1"),
        ],
        (*ROWS, *PARENT),
    ),
    Case(
        "P39",
        "shared lock then update, with another write before it",
        [
            (1, "INSERT INTO parent VALUES (7, 0)"),
            (2, "INSERT INTO parent VALUES (8, 0)"),
            (1, "SELECT * FROM shelf WHERE id = 1 LOCK IN SHARE MODE"),
            (2, "SELECT * FROM shelf WHERE id = 1 LOCK IN SHARE MODE"),
            (1, "UPDATE shelf SET note = 1 WHERE id = 1"),
            (2, "UPDATE shelf SET note = 2 WHERE id = 1"),
        ],
        (*ROWS, *PARENT),
    ),
    Case(
        "P41",
        "missing index for a delete",
        [
            (1, "SELECT * FROM shelf WHERE id = 3 FOR UPDATE"),
            (2, "DELETE FROM shelf WHERE note = 7"),
            (1, "SELECT * FROM shelf WHERE id = 2 FOR UPDATE"),
        ],
    ),
]
