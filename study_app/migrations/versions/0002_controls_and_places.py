"""Control trials, more than two videos to a page, places that are given on, withdrawal, closing."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Add what is new, and move each pair's two videos into one column."""
    op.drop_table("meta")
    op.create_table("study", sa.Column("study_id", sa.String, primary_key=True), sa.Column("closed_at", sa.String))
    op.create_table(
        "place",
        sa.Column("study_id", sa.String, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rater_id", sa.String, sa.ForeignKey("rater.id"), nullable=False),
        sa.Column("leased_until", sa.String, nullable=False),
        sa.Column("finished_at", sa.String),
    )
    op.add_column("rater", sa.Column("place", sa.Integer))
    for name in ("language", "revoked_at", "checked_at", "rested_at", "withdrawn_at"):
        op.add_column("rater", sa.Column(name, sa.String))
    op.add_column("assignment", sa.Column("kind", sa.String, nullable=False, server_default="scored"))
    op.add_column("assignment", sa.Column("control", sa.String))
    op.add_column("assignment", sa.Column("stimuli", sa.String, nullable=False, server_default=""))
    op.add_column("assignment", sa.Column("seen_at", sa.String))
    op.add_column("answer", sa.Column("settings_sha256", sa.String, nullable=False, server_default=""))
    op.execute("""update assignment set stimuli = "left" || ' ' || "right", seen_at = submitted_at""")
    op.drop_column("assignment", "left")
    op.drop_column("assignment", "right")
    # Nobody who began before there were leases loses their place.
    op.execute("update rater set place = number, checked_at = consented_at")
    op.execute(
        "insert into place (study_id, number, rater_id, leased_until, finished_at) "
        "select study_id, number, id, '9999', completed_at from rater where number is not null"
    )
