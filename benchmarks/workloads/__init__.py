"""The measurements, one module each; every one of them runs unchanged on every system."""
