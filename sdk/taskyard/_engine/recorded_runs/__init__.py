"""Runs by their ids, whoever submitted them."""
