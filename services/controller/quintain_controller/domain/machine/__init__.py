"""What one search does next, without I/O: inputs in, instructions out (`messages`), decided by `search.SearchMachine`.

No clock, no task, no service: whoever executes the instructions (`usecases.search_run`) tells what came of them. Every
race between calls, writes, users and drains is an order of inputs, so a test is a list of them.
"""
