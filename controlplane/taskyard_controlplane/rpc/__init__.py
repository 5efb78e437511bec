"""gRPC adapters: translate a request, hand it to the owner or a reader, translate the answer back."""
