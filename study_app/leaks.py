"""The check that a study bundle does not name a method: in file names, in study.json, in metadata, in any byte."""

import json
import re
from pathlib import Path

from core.errors import PanobenchError
from study_app.bundle import KEY_FILE, SETTINGS_FILE, STUDY_FILE

#: Shorter names occur by chance in compressed bytes (once in some 10 MB at five letters), so they are looked for as
#: whole words in the readable parts only.
SHORTEST_IN_BYTES = 5
#: A method called A is not betrayed by the article in "a red balloon".
SHORTEST_IN_TEXT = 3
#: What an MP4 from this project may say about itself; anything else could tell where the file came from.
PLAIN_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "language", "handler_name", "vendor_id"}


class LeakError(PanobenchError):
    """Raters could find out which method made a video."""


def check_no_leak(folder: str | Path, names: list[str]) -> None:
    """Raise LeakError if a method could be recognised from anything in the bundle except `key.json`.

    Args:
        folder: the bundle.
        names: names and labels of the methods. They are looked for without regard to case, and with spaces, hyphens
            and underscores exchanged or left out.
    """
    folder = Path(folder)
    patterns = [(name, _pattern(name)) for name in names if _letters(name)]
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / KEY_FILE)
    tags: dict[str, str] | None = None
    for path in files:
        readable = [("name", str(path.relative_to(folder)))]
        content = path.read_bytes()
        if path in (folder / STUDY_FILE, folder / SETTINGS_FILE):
            content = _own_words(path, content)
            readable.append(("text", content.decode()))
        elif path.suffix == ".mp4":
            found = media_tags(path)
            readable += [("metadata", f"{key}={value}") for key, value in found.items()]
            if tags is not None and found != tags:
                raise LeakError(f"{path}: metadata differ from the other videos' ({_difference(found, tags)})")
            tags = found
        for name, pattern in patterns:
            for kind, text in readable:
                if pattern.search(text) and not (kind == "text" and len(_letters(name)) < SHORTEST_IN_TEXT):
                    raise LeakError(
                        f"{path}: its {kind} contains the method name '{name}', so raters could recognise it; "
                        "rename the method in the manifest, or reword the prompt"
                    )
            if len(_letters(name)) >= SHORTEST_IN_BYTES and pattern.search(content.decode("latin-1")):
                raise LeakError(f"{path}: its bytes contain the method name '{name}'")


def media_tags(path: Path) -> dict[str, str]:
    """All metadata of an MP4: the container's and each stream's.

    Raises:
        LeakError: the file carries a tag that is not a plain technical one, or more than one stream.
    """
    import av

    with av.open(str(path)) as container:
        tags = dict(container.metadata)
        if len(container.streams) != 1:
            raise LeakError(f"{path}: has {len(container.streams)} streams, expected one video stream without sound")
        for key, value in container.streams[0].metadata.items():
            tags[f"stream.{key}"] = value
    for key in tags:
        if key.removeprefix("stream.") not in PLAIN_TAGS:
            raise LeakError(f"{path}: carries the metadata tag '{key}' = '{tags[key]}'")
    return tags


def check_words(text: str, names: list[str]) -> None:
    """Raise LeakError if a method is named in words that the organiser wrote for the raters."""
    for name in names:
        if len(_letters(name)) >= SHORTEST_IN_TEXT and _pattern(name).search(text):
            raise LeakError(
                f"study.wording: contains the method name '{name}', so raters could recognise it; reword it"
            )


def _own_words(path: Path, content: bytes) -> bytes:
    """What is this study's own in study.json or study.yaml.

    The fixed texts of a language and the kinds of controls, which never reach a browser, are the same for whatever
    methods are compared.
    """
    if path.suffix == ".yaml":
        import yaml

        values = yaml.load(content, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    else:
        values = json.loads(content)
    own = {
        key: value for key, value in values.items() if key not in ("texts", "wording", "controls", "screening", "mode")
    }
    return json.dumps(own, ensure_ascii=False, default=str).encode()


def _letters(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name)


def _pattern(name: str) -> re.Pattern[str]:
    """The name with free case and separators; a short name only as a word of its own."""
    parts = [re.escape(part) for part in re.split(r"[\s_\-]+", name) if part]
    body = r"[\s_\-]*".join(parts)
    if len(_letters(name)) < SHORTEST_IN_BYTES:
        body = rf"(?<![A-Za-z0-9]){body}(?![A-Za-z0-9])"
    return re.compile(body, re.IGNORECASE)


def _difference(found: dict[str, str], others: dict[str, str]) -> str:
    keys = sorted(key for key in found.keys() | others.keys() if found.get(key) != others.get(key))
    return ", ".join(f"{key}: {found.get(key)!r} instead of {others.get(key)!r}" for key in keys)
