"""What `quintain mcp` offers to coding agents: tools over the services, within a budget that is out of their reach."""
