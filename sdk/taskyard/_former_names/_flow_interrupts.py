"""What interrupted the body of a flow, as release 0.1.0 stored it."""

from taskyard.exceptions import FlowCancelled

__all__ = ["FlowCancelled"]
