"""`lockstep schema`."""

import json

import click

from worker.schema import wire_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of every request and outcome."""
    click.echo(json.dumps(wire_schema(), indent=2))
