"""360 Text Fusion (360DVD, section 3.1): four captions of four views become one caption of the panorama.

The paper asks a chat model; `rules` needs no network and gives the same text every time. It takes the captions apart
into phrases, keeps each thing once in its fullest wording, settles what contradicts, and orders the rest as WEB360's
captions are: the place, what stands in it, the sky, the time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from core.errors import PanobenchError

_TIMES = {
    "dawn": ("dawn", "sunrise", "early morning", "morning"),
    "day": ("noon", "sunny", "daylight", "daytime", "midday"),
    "sunset": ("sunset", "evening", "dusk"),
    "night": ("night", "midnight"),
}


def _set(words: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", words))


_PLACE_NOUNS = _set(
    """desert dune sand meadow field grass snow plain water lake sea ocean river beach forest city street town valley
    park room church hall island coast pool canyon volcano"""
)
_EMPTY = _set("a an the of in on at with and to over under above by into from its is are some very")
_MODIFIERS = _set(
    """large big small calm hot red orange yellow green blue purple white black dashed sandy grassy snowy covered clear
    cloudy bright"""
)
# Words that announce a picture instead of saying what it shows.
_BOILERPLATE = re.compile(
    r"^(?:an? )?(?:(?:panoramic|360[- ]degree|wide) )?(?:view|photo|picture|image|panorama|scene)s? of (?=\S)", re.I
)
# What several views say of one and the same thing around the viewer; one wording of each is enough.
_SUBJECTS = (("mountain",), ("hill",), ("road",), ("street",), ("cloud",), ("clear",), ("camera", "moving", "turning"))
# What may be said of such a subject and be left out; a phrase that says more stays.
_ASIDES = _MODIFIERS | _set(
    """sky horizon background distance surrounded leading line down forward around move turn stand still"""
)
_CLOUDS, _CLEAR = re.compile(r"\bcloud(?:s|y)?\b", re.I), re.compile(r"\bclear\b.*\bsky\b|\bcloudless\b", re.I)
_PREPOSITION = re.compile(
    r"^(?P<things>an? .+?) (?P<link>standing on|in front of|rolling over|floating over|on|over|above|in) (?P<place>.+)$"
)


def _words(phrase: str) -> frozenset[str]:
    """Content words in a common form: lower case, no plural s, sandy and sand the same."""
    found = set()
    for word in re.findall(r"[a-z0-9]+", phrase.lower()):
        if word in _EMPTY:
            continue
        word = {"sandy": "sand", "grassy": "grass", "snowy": "snow", "cloudy": "cloud"}.get(word, word)
        found.add(word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us")) else word)
    return frozenset(found)


def _time_of(phrase: str) -> str | None:
    """The time of day a phrase names, or None."""
    text = phrase.lower()
    return next((time for time, words in _TIMES.items() if any(re.search(rf"\b{w}\b", text) for w in words)), None)


def _phrases(caption: str) -> list[str]:
    """The comma-separated phrases of a caption without picture words and final stop."""
    parts = (part.strip(" .") for part in caption.replace(";", ",").split(","))
    return [stripped for part in parts if part and (stripped := _BOILERPLATE.sub("", part))]


def fuse_captions(views: Sequence[str]) -> str:
    """One caption from those of the views (yaw 0, 90, 180, 270 degrees), deterministic.

    Every word for a thing or a place in any view is in the result; a thing named twice is there once, in its fullest
    wording; one time of day remains, that of most views; a clear sky gives way to clouds seen in another view.

    Raises:
        PanobenchError: no view has a caption.
    """
    things: list[str] = []
    places: list[str] = []
    rest: list[str] = []
    times: list[str] = []
    link = ""
    for phrase in (phrase for caption in views for phrase in _phrases(caption)):
        match = _PREPOSITION.match(phrase)
        around = match and (_is_place(match["place"]) or _words(match["place"]) == {"sky"})
        if match and around and not _is_place(match["things"]):
            things += re.split(r" and (?=an? )", match["things"])
            # A view without ground has its things "in the sky", which every panorama has.
            if _is_place(match["place"]):
                link = link or match["link"]
                places.append(match["place"])
        elif _is_place(phrase):
            places.append(phrase)
        elif _time_of(phrase):
            times.append(phrase)
        elif _words(phrase) != {"sky"}:
            rest.append(phrase)
    if any(_CLOUDS.search(phrase) for phrase in rest):
        rest = [phrase for phrase in rest if not _CLEAR.search(phrase)]
    head = f" {link or 'in'} ".join(filter(None, [_join(_fullest(things)), _join(_fullest(places))]))
    fused = ", ".join(filter(None, [head, *_once_per_subject(rest), _main_time(times)]))
    if not fused:  # nothing but "the sky", or nothing at all
        fused = next((caption.strip() for caption in views if caption.strip()), "")
    if not fused:
        raise PanobenchError("360 Text Fusion: no view has a caption")
    return fused


def _is_place(phrase: str) -> bool:
    """Whether a phrase names a place and not only the time or the sky over it."""
    return bool(_words(phrase) & _PLACE_NOUNS) and not _CLOUDS.search(phrase)


def _fullest(phrases: Sequence[str]) -> list[str]:
    """Phrases without those whose words others say already; the fuller wordings win, order of first mention stays."""
    kept: list[str] = []
    said: set[str] = set()
    order = {phrase: i for i, phrase in reversed(list(enumerate(phrases)))}
    for phrase in sorted(order, key=lambda p: (-len(_words(p)), order[p])):
        words = _words(phrase)
        fuller = any(words <= _words(other) for other in kept)
        # A place or sky said in other words is said; a thing is its colour and its noun together.
        nouns = words - _MODIFIERS
        repeated = bool(nouns) and nouns <= said and not (words & _MODIFIERS - {"sand", "grass", "snow"})
        if fuller or repeated:
            continue
        kept.append(phrase)
        said |= words
    return sorted(kept, key=order.__getitem__)


def _once_per_subject(phrases: Sequence[str]) -> list[str]:
    """One phrase per subject of `_SUBJECTS`, the one with most words and among those the commonest; others as said."""
    chosen: dict[str, str] = {}
    count = Counter(phrases)
    for phrase in phrases:
        words = _words(phrase)
        named = (names for names in _SUBJECTS if words & set(names) and words <= _ASIDES | set(names))
        subject = next(named, (phrase,))[0]
        best = chosen.setdefault(subject, phrase)
        if (len(words), count[phrase]) > (len(_words(best)), count[best]):
            chosen[subject] = phrase
    return _fullest(list(chosen.values()))


def _join(phrases: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]])) if phrases else ""


def _main_time(times: Sequence[str]) -> str:
    """The wording, among those of the time most views name, that was used most; the first one breaks ties."""
    if not times:
        return ""
    main = Counter(_time_of(phrase) for phrase in times).most_common(1)[0][0]
    return Counter(phrase for phrase in times if _time_of(phrase) == main).most_common(1)[0][0]
