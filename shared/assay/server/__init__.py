"""The grpc.aio chassis every front stands on."""
