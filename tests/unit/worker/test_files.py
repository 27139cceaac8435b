import gzip
import io
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.orders.add_catalogue import NewCustomer, Product
from jobs.orders.requests import CancelOrder
from worker.errors import LockstepError
from worker.files import open_source, read_csv, read_json_lines

GOOD = b'{"order_id": "01937a5c-7e00-7000-8000-00000000000%d"}\n'
HEADER = b"product_id,name,price_cents,available\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BadLines = list[tuple[int, str]]


def orders_of(path: Path | str) -> tuple[list[int], BadLines]:
    """The last digit of each order's id, and the bad lines."""
    bad: BadLines = []
    with open_source(str(path)) as source:
        found = list(read_json_lines(source, CancelOrder, lambda *problem: bad.append(problem)))
    return [int(order.order_id.hex[-1], 16) for order in found], bad


def products_of(path: Path) -> tuple[list[Product], BadLines]:
    bad: BadLines = []
    with open_source(str(path)) as source:
        return list(read_csv(source, Product, lambda *problem: bad.append(problem))), bad


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Give the process something to read."""

    def give(content: bytes) -> None:
        stream = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
        monkeypatch.setattr(sys, "stdin", stream)

    yield give
    sys.stdin.close()


def test_a_plain_file_is_read_line_by_line(file: Path) -> None:
    file.write_bytes(GOOD % 1 + GOOD % 2)
    assert orders_of(file) == ([1, 2], [])


def test_a_gzipped_file_is_known_by_its_content(file: Path) -> None:
    file.write_bytes(gzip.compress(GOOD % 1 + GOOD % 2))
    assert orders_of(file) == ([1, 2], [])


def test_the_last_line_needs_no_end(file: Path) -> None:
    file.write_bytes((GOOD % 1 + GOOD % 2).rstrip())
    assert orders_of(file) == ([1, 2], [])


def test_lines_may_end_as_on_windows(file: Path) -> None:
    file.write_bytes((GOOD % 1 + b"\n{}\n" + GOOD % 2).replace(b"\n", b"\r\n"))
    found, bad = orders_of(file)
    assert found == [1, 2]
    assert [number for number, _ in bad] == [3]


def test_an_empty_file_has_nothing(file: Path) -> None:
    file.touch()
    assert orders_of(file) == ([], [])


def test_standard_input_is_read(standard_input: Callable[[bytes], None]) -> None:
    standard_input(GOOD % 1 + b"7\n" + GOOD % 2)
    found, bad = orders_of("-")
    assert found == [1, 2]
    assert [number for number, _ in bad] == [2]


def test_standard_input_may_be_gzipped(standard_input: Callable[[bytes], None]) -> None:
    standard_input(gzip.compress(GOOD % 1))
    assert orders_of("-") == ([1], [])


def test_standard_input_has_no_size(standard_input: Callable[[bytes], None]) -> None:
    standard_input(GOOD % 1)
    with open_source("-") as source:
        assert list(source.lines()) == [(GOOD % 1).decode()]
        assert (source.name, source.size, source.position()) == ("-", None, 0)


def test_how_far_a_file_is_read_is_told_in_bytes_of_the_file(file: Path) -> None:
    file.write_bytes(gzip.compress(GOOD % 1 * 100))
    with open_source(str(file)) as source:
        assert source.size == file.stat().st_size
        assert len(list(source.lines())) == 100
        assert source.position() == source.size


def test_a_bad_line_is_reported_with_its_number_and_the_rest_goes_on(file: Path) -> None:
    file.write_bytes(GOOD % 1 + b'{"order_id": "7"}\n' + GOOD % 2 + b"{\n" + GOOD % 3)
    found, bad = orders_of(file)
    assert found == [1, 2, 3]
    assert [number for number, _ in bad] == [2, 4]
    assert bad[0][1].startswith("order_id: Input should be a valid UUID")
    assert bad[1][1].startswith("request: Invalid JSON")


def test_empty_lines_are_passed_over_and_counted(file: Path) -> None:
    file.write_bytes(b"\n  \n" + GOOD % 1 + b"\n\t\n[]\n")
    found, bad = orders_of(file)
    assert found == [1]
    assert [number for number, _ in bad] == [6]


def test_nan_is_no_number_in_json(file: Path) -> None:
    file.write_bytes(b'{"order_id": NaN}\n')
    assert orders_of(file) == (
        [],
        [(1, "order_id: UUID input should be a string, bytes or UUID object (got nan)")],
    )


def test_a_missing_file_is_named(file: Path) -> None:
    with pytest.raises(LockstepError, match=r"file cannot be read: No such file or directory\.$"):
        orders_of(file)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(LockstepError, match=r"cannot be read: Is a directory\.$") as raised:
        orders_of(tmp_path)
    assert str(raised.value).startswith(str(tmp_path))


@pytest.mark.parametrize("length", [2, 12, -9, -1])
def test_a_gzipped_file_that_was_cut_off_is_named(file: Path, length: int) -> None:
    file.write_bytes(gzip.compress(GOOD % 1 * 100)[:length])
    with pytest.raises(LockstepError, match=r"file cannot be read: Compressed file ended before"):
        orders_of(file)


def test_a_gzipped_file_with_a_wrong_checksum_is_named(file: Path) -> None:
    content = bytearray(gzip.compress(GOOD % 1))
    content[-6] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(LockstepError, match=r"file cannot be read: CRC check failed"):
        orders_of(file)


def test_a_file_that_is_not_utf_8_is_named(file: Path) -> None:
    file.write_bytes(GOOD % 1 + "Käse\n".encode("latin-1"))
    with pytest.raises(LockstepError, match=r"file is not UTF-8 text \(invalid continuation byte\)\.$"):
        orders_of(file)


def test_a_gzipped_file_whose_body_is_damaged_is_named(file: Path) -> None:
    content = bytearray(gzip.compress(GOOD % 1))
    content[10] |= 0b110  # behind the header: a block of a type that does not exist
    file.write_bytes(content)
    with pytest.raises(
        LockstepError, match=r"file cannot be read: Error -3 .*invalid block type\.$"
    ) as raised:
        orders_of(file)
    assert isinstance(raised.value.__cause__, zlib.error)


def test_standard_input_that_is_damaged_is_named(standard_input: Callable[[bytes], None]) -> None:
    content = bytearray(gzip.compress(GOOD % 1))
    content[10] |= 0b110
    standard_input(bytes(content))
    with pytest.raises(LockstepError, match=r"^- cannot be read: Error -3 "):
        orders_of("-")


def test_a_damaged_gzipped_csv_file_is_named(file: Path) -> None:
    content = bytearray(gzip.compress(HEADER + b"1,tea,3,4\n"))
    content[10] |= 0b110
    file.write_bytes(content)
    with pytest.raises(LockstepError, match=r"file cannot be read: Error -3 "):
        products_of(file)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_byte_order_mark_is_passed_over(file: Path, pack: Callable[[bytes], bytes]) -> None:
    file.write_bytes(pack(BYTE_ORDER_MARK + GOOD % 1 + GOOD % 2))
    assert orders_of(file) == ([1, 2], [])


def test_a_byte_order_mark_alone_is_an_empty_file(file: Path) -> None:
    file.write_bytes(BYTE_ORDER_MARK)
    assert orders_of(file) == ([], [])


def test_a_byte_order_mark_of_standard_input_is_passed_over(
    standard_input: Callable[[bytes], None],
) -> None:
    standard_input(BYTE_ORDER_MARK + GOOD % 1)
    assert orders_of("-") == ([1], [])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(file: Path, pack: Callable[[bytes], bytes]) -> None:
    file.write_bytes(pack(BYTE_ORDER_MARK + HEADER + b"1,tea,3,4\n"))
    found, bad = products_of(file)
    assert ([product.product_id for product in found], bad) == ([1], [])


ERRORS_OF_THE_BODY = [
    TimeoutError("no outcome"),
    ConnectionResetError(104, "reset"),
    EOFError("end"),
    zlib.error("not this file"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "not this file"),
    LockstepError("Redis does not answer."),
    ValueError("poison"),
]


@pytest.mark.parametrize("error", ERRORS_OF_THE_BODY, ids=repr)
def test_an_error_of_the_body_passes_unchanged(file: Path, error: Exception) -> None:
    file.write_bytes(GOOD % 1)
    with pytest.raises(type(error)) as raised, open_source(str(file)):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("error", ERRORS_OF_THE_BODY, ids=repr)
def test_an_error_of_the_body_between_two_lines_passes_unchanged(file: Path, error: Exception) -> None:
    file.write_bytes(gzip.compress(GOOD % 1 + GOOD % 2))

    def stumble() -> None:
        with open_source(str(file)) as source:
            for _ in read_json_lines(source, CancelOrder, lambda *_: None):
                raise error

    with pytest.raises(type(error)) as raised:
        stumble()
    assert raised.value is error


def test_rows_of_csv_are_read_by_the_names_of_the_first_line(file: Path) -> None:
    file.write_bytes(b'name,available,price_cents,product_id\n"Tea, green",4,3,1\n')
    assert products_of(file) == (
        [Product(product_id=1, name="Tea, green", price_cents=3, available=4)],
        [],
    )


def test_csv_may_be_gzipped(file: Path) -> None:
    file.write_bytes(gzip.compress(HEADER + b"1,tea,3,4\n"))
    assert products_of(file) == ([Product(product_id=1, name="tea", price_cents=3, available=4)], [])


def test_a_cell_may_hold_lines_and_lines_are_counted_in_the_file(file: Path) -> None:
    file.write_bytes(HEADER + b'1,"green\ntea",3,4\n0,tea,3,4\n')
    found, bad = products_of(file)
    assert [product.name for product in found] == ["green\ntea"]
    assert [number for number, _ in bad] == [4]


def test_columns_that_are_missing_are_named(file: Path) -> None:
    file.write_bytes(b"product_id,name\n1,tea\n")
    with pytest.raises(
        LockstepError, match=r"file has no column available, price_cents in its first line\.$"
    ):
        products_of(file)


def test_an_empty_csv_file_has_no_columns(file: Path) -> None:
    file.touch()
    with pytest.raises(LockstepError, match="has no column available, name, price_cents, product_id"):
        products_of(file)


@pytest.mark.parametrize("extra", [b",5", b",5,6", b",", b",,"])
def test_a_row_with_cells_too_many_is_reported_and_the_rest_goes_on(file: Path, extra: bytes) -> None:
    file.write_bytes(HEADER + b"1,tea,3,4" + extra + b"\n2,tea,3,4\n")
    found, bad = products_of(file)
    assert [product.product_id for product in found] == [2]
    assert bad == [(2, "it has more cells than the first line has names")]


def test_a_row_with_cells_too_few_is_reported_and_the_rest_goes_on(file: Path) -> None:
    file.write_bytes(HEADER + b"1,tea,3\n2,tea,3,4\n")
    found, ((number, problem),) = products_of(file)
    assert [product.product_id for product in found] == [2]
    assert number == 2
    assert problem.startswith("available: Field required")


@pytest.mark.parametrize("cell", ["0", "-1", "x", "1e3", "1.5", "nan", str(2**63)])
def test_a_row_with_a_bad_cell_is_reported_and_the_rest_goes_on(file: Path, cell: str) -> None:
    file.write_bytes(HEADER + f"{cell},tea,3,4\n".encode() + b"2,tea,3,4\n")
    found, ((number, problem),) = products_of(file)
    assert [product.product_id for product in found] == [2]
    assert number == 2
    assert problem.startswith("product_id: Input should be ")


def test_a_column_that_nobody_knows_is_reported(file: Path) -> None:
    file.write_bytes(b"colour," + HEADER + b"red,1,tea,3,4\n,2,tea,3,4\n")
    found, bad = products_of(file)
    assert [product.product_id for product in found] == [2]
    assert bad == [(2, "colour: Extra inputs are not permitted (got 'red')")]


def test_an_empty_cell_is_an_absent_one(file: Path) -> None:
    file.write_bytes(b"customer_id,name,credit_limit_cents\n1,Alice,\n2,Bob,0\n3,,5\n")
    bad: BadLines = []
    with open_source(str(file)) as source:
        found = list(read_csv(source, NewCustomer, lambda *problem: bad.append(problem)))
    assert [(row.customer_id, row.credit_limit_cents) for row in found] == [(1, None), (2, 0)]
    assert [number for number, _ in bad] == [4]
    assert bad[0][1].startswith("name: Field required")


def test_an_optional_column_may_be_absent(file: Path) -> None:
    file.write_bytes(b"customer_id,name\n1,Alice\n")
    with open_source(str(file)) as source:
        (row,) = read_csv(source, NewCustomer, lambda *_: None)
    assert row == NewCustomer(customer_id=1, name="Alice")


def test_a_quote_that_is_never_closed_ends_the_reading(file: Path) -> None:
    file.write_bytes(HEADER + b'1,"tea,3,4\n')
    with pytest.raises(LockstepError, match=r"file, line 2: unexpected end of data\.$"):
        products_of(file)


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        (b'1,"tea"x,3,4\n', 2),
        (b'1,tea,3,4\n2,"tea"x,3,4\n3,tea,3,4\n', 3),
        (b'1,"green\ntea",3,4\n2,"tea"x,3,4\n', 4),
        (b'\n\n1,"tea"x,3,4\n', 4),
    ],
    ids=["first row", "second row", "after a cell of two lines", "after empty lines"],
)
def test_a_quote_that_is_broken_is_named_with_its_line(file: Path, rows: bytes, number: int) -> None:
    file.write_bytes(HEADER + rows)
    problem = re.escape(f"""file, line {number}: ',' expected after '"'.""")
    with pytest.raises(LockstepError, match=problem + "$"):
        products_of(file)


def test_a_quote_that_is_broken_in_the_first_line_is_named(file: Path) -> None:
    file.write_bytes(b'product_id,"name"x,price_cents,available\n')
    with pytest.raises(LockstepError, match="file, line 1: "):
        products_of(file)


def test_a_cell_that_is_too_long_is_named_with_its_line(file: Path) -> None:
    file.write_bytes(HEADER + b"1,tea,3,4\n2," + b"x" * 200_000 + b",3,4\n")
    with pytest.raises(LockstepError, match=r"file, line 3: field larger than field limit"):
        products_of(file)
