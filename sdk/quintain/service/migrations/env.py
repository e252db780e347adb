"""Alembic's environment of every service: always inside the connection that `quintain.service.sql` opened."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
