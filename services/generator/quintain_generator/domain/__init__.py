"""Plain rules of the generator: outcomes, prices, extraction, the gate. No grpc, no SQL, no clock, no environment."""
