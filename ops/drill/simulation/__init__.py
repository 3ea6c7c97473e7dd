"""The ledger's whole path in one process: a broker, workers and a clock made of plain objects, decided by one seed.

What runs on them is the product: its lanes, runners, desks and transactional writers.
"""
