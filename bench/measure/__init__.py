"""Measuring as such: seconds, bytes, the machine, figures of samples. No record and no configuration is known here."""
