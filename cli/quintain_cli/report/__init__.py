"""The report of a search: one self-contained HTML file. Input is the contracts' messages, output is text."""
