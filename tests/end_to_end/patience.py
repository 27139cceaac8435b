"""Limits of time that real processes keep on a machine which pauses for some seconds."""

from typing import Final

from tests.asking import PATIENT

PATIENT_VARIABLES: Final = {f"LOCKSTEP_{name.upper()}": str(value) for name, value in PATIENT.items()}
