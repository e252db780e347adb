"""What a model is asked: one bounded layout, most stable part first."""
