"""The ground floor: what a setting may be, how one is refused, and what the data asks of a network.

Used by every other room and uses none; needs NumPy nowhere and no framework.
"""
