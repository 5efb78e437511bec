"""Nouns: what runs, states and values are, without input or output.

Stands on `taskyard_contract` and `taskyard.exceptions` only; everything else in the SDK may use it.
"""
