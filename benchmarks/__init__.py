"""Measures Taskyard beside other systems on one machine; nothing in the product imports this package.

Everything but `report` and `database` runs on the standard library alone, because the peers' virtualenvs
hold nothing else than the peer.
"""
