"""Alembic's environment: always inside the connection and transaction that `store.migrate` opened."""

from alembic import context

from quintain_controller.adapters.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
