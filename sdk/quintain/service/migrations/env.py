"""Alembic's environment of every service: always inside the connection that `quintain.service.sql` opened."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()
