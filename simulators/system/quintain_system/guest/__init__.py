"""The untrusted side: what runs beside a model, a policy or a workload, each in a jailed process of its own.

Standard library and `quintain_system.interface` only. The engine believes nothing that is said here.
"""
