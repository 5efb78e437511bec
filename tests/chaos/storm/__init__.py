"""Storms: a real installation under random faults, judged by the rules of the simulation."""
