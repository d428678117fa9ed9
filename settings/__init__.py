"""The ground floor: what a setting may be and how one is refused, what the data asks, and how a person is told.

Used by every other room and uses none; no framework is known here.
"""
