"""How alembic runs a revision: on the connection, and in the transaction, that study_app.database holds."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
