"""The gRPC side: the only place, with the adapters of remote simulators, that sees protobuf."""
