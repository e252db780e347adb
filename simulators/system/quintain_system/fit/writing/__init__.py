"""Writes the template of models of one package: what its recordings show, with genes for what they leave open.

What a model says stays plain: one method for what comes after each kind of record, one for each event, and the laws in
methods of their own.
"""
