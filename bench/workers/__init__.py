"""Processes that measure: what is said between them and their parent, who owns them, and what they do.

Nothing here knows a task; nothing here imports a framework.
"""
