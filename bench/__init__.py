"""What is measured and how: adapters' protocol, timing, memory, training, statistics, records and tables.

Nothing here imports a framework or a model: run.py hands over an adapter.
"""
