"""Blobs: how they are named, and the directory that programs on one machine share."""
