"""What an audit found, for a person."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from jobs.orders.audit import Finding


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """The audit, an invariant a line."""
    table = Table(box=None, show_header=False, padding=(0, 2), title="\naudit", title_justify="left")
    for finding in findings:
        verdict = (
            "[green]holds[/]" if not finding.violations else f"[red]{finding.violations:,} violations[/]"
        )
        table.add_row(finding.invariant.replace("_", " "), verdict, finding.example or "")
    console.print(table)
    broken = sum(1 for finding in findings if finding.violations)
    console.print(f"[red]{broken} invariants are broken[/]" if broken else "[green]every invariant holds[/]")
