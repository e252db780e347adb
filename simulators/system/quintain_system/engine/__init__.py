"""The trusted side: moves messages between model and policy, checks them, and measures what happened."""
