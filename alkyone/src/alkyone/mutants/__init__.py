"""Planted defects: does the suite notice? ``alkyone mutants`` says."""

from alkyone.mutants.planted import MUTANTS as MUTANTS
from alkyone.mutants.planted import Edit as Edit
from alkyone.mutants.planted import Mutant as Mutant
