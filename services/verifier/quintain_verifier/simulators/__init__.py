"""The simulators that this verifier knows: installed plugins and remote ones."""
