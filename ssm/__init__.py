"""The mathematics of the state-space models, once, in NumPy float64: no framework is imported here."""
