"""Small named documents that programs keep."""
