"""Small whole programs whose start-up W3 times: each prints one line at its first result and ends.

This module stays bare: what it imported would be part of the time that is measured.
"""

READY = "first result"
