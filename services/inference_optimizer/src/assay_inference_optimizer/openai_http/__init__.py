"""An HTTP facade that speaks as OpenAI's API does, so that existing clients work; answers come over gRPC."""
