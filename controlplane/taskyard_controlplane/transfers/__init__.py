"""Grants: how peers move blobs by HTTP, past the control plane, which only says where to and lets them in."""
