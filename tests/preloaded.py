"""Imported by the process that `tests.forked` forks from, before its first fork."""

from tests.forked import import_everything

import_everything()
