"""The built-in strategies; they use the same door (`quintain.strategies`) as anybody's."""
