"""How far a model may be trusted: what its runs over recordings and its ranking of policies say."""
