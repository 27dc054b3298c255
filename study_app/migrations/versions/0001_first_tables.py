"""The first tables: raters, their pairs, their answers."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "meta", sa.Column("name", sa.String, primary_key=True), sa.Column("value", sa.String, nullable=False)
    )
    op.create_table(
        "rater",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("study_id", sa.String, nullable=False, index=True),
        sa.Column("token_hash", sa.String, nullable=False, unique=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("label", sa.String),
        sa.Column("number", sa.Integer),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("consent_version", sa.String),
        sa.Column("consented_at", sa.String),
        sa.Column("instructed_at", sa.String),
        sa.Column("completed_at", sa.String),
        sa.Column("completion_code", sa.String),
        sa.UniqueConstraint("study_id", "number"),
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("rater_id", sa.String, sa.ForeignKey("rater.id"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("prompt_id", sa.String, nullable=False),
        sa.Column("left", sa.String, nullable=False),
        sa.Column("right", sa.String, nullable=False),
        sa.Column("shown_at", sa.String),
        sa.Column("submitted_at", sa.String),
        sa.UniqueConstraint("rater_id", "position"),
    )
    op.create_table(
        "answer",
        sa.Column("assignment_id", sa.String, sa.ForeignKey("assignment.id"), primary_key=True),
        sa.Column("criterion", sa.String, primary_key=True),
        sa.Column("choice", sa.String, nullable=False),
        sa.Column("bundle_sha256", sa.String, nullable=False),
        sa.Column("answered_at", sa.String, nullable=False),
    )
