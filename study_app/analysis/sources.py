"""Where the votes of a study are: a database, or an export that lies where the database would."""

import os
from pathlib import Path

from study_app.analysis.votes import Votes, from_rows, read_export
from study_app.bundle import KEY_FILE, load_bundle, load_key
from study_app.database import as_url
from study_app.export import make_codebook, table
from study_app.locate import default_database
from study_app.organiser import closed_at
from study_app.store import Store


def read_study(
    folder: str | Path, database: str | None = None, key_path: str | Path | None = None
) -> tuple[Votes, str]:
    """The votes of a bundle's study, and where they were found.

    A database that does not exist is not made: then an export ``votes/<study id>.csv`` or ``.json`` is taken, and
    without one there are no votes.

    Raises:
        PanobenchError: the bundle, its key, the database or the export cannot be used.
    """
    bundle = load_bundle(folder)
    key = load_key(key_path or bundle.folder / KEY_FILE, bundle.study.study_id)
    place = database or default_database(bundle)
    url = as_url(place)
    if url.get_backend_name() == "sqlite" and not (url.database and Path(url.database).is_file()):
        exports = [Path(url.database or "votes").with_suffix(suffix) for suffix in (".csv", ".json")]
        for export in exports if not database and "PANOBENCH_STUDY_DB" not in os.environ else []:
            if export.is_file():
                return read_export(export), str(export)
        return from_rows([], make_codebook(bundle, key)), f"{place}, which does not exist yet"
    store = Store(bundle, place)
    try:
        source = store.place if closed_at(store) else f"{store.place} (the study is still open)"
        return from_rows(table(store, key), make_codebook(bundle, key), store.place), source
    finally:
        store.close()
