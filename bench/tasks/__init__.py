"""What can be done with a network, one task a file: its settings, what it asks of workers, what tables show of it.

Modules with a TASK are the tasks; registry.py finds them by name. The others are what they share.
"""
