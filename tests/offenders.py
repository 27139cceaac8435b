"""One test for a whole list: it fails once, with every entry that is wrong and what is wrong with it."""

from collections.abc import Iterable


def assert_none(offenders: Iterable[str]) -> None:
    """Fail with these lines, if there are any. Whether there was anything to check is for the caller to assert."""
    __tracebackhide__ = True
    found = list(offenders)
    lines = "\n".join(f"  {line}" for line in found)
    assert not found, f"{len(found)} found:\n{lines}"
