"""The aggregator's store in PostgreSQL: the only place that imports its driver.

Every function takes a connection that is in a transaction (`Store.transaction`); who calls decides what
belongs together. Times go in and out as ms since 1970 UTC; ranges as their two ends.
"""
