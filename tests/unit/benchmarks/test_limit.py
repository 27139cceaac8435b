from pathlib import Path

from benchmarks.limit import split


def test_transactions_are_dealt_out_whole_and_each_client_begins_with_the_settings(tmp_path: Path) -> None:
    whole = tmp_path / "limit-64.sql"
    transactions = [f"START TRANSACTION;\nINSERT {number};\nCOMMIT;\n" for number in range(3)]
    whole.write_text("SET SESSION sql_mode = '';\nCOMMIT;\n" + "".join(transactions))
    first, second = split(whole)
    settings = "SET SESSION sql_mode = '';\nCOMMIT;\n"
    assert first.read_text() == settings + transactions[0] + transactions[2]
    assert second.read_text() == settings + transactions[1]
    assert not whole.exists()
