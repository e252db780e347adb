"""An LLM provider on loopback that speaks the three wire protocols and fails in programmable ways."""
