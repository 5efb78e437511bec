"""Texts for people, one home for each kind: the same words in every program."""
