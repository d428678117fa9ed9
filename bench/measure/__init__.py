"""Measures: a round of calls, memory, the machine, and what samples show. Knows no record and no configuration."""
