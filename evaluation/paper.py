"""What of a comparison goes into a paper: the summary table in LaTeX, and the methods section in words.

Both say what ran, from the record of the run, and nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from core.latex import escape, labelled, stacked, table
from evaluation.findings import CRITERIA, listed

_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "none": ""}


def latex_table(comparison: Mapping[str, Any], places: Mapping[str, int]) -> str:
    """The summary table: a row per method, a column per criterion (its headline metric), means with intervals below.

    Needs the package booktabs.

    Args:
        comparison: as ``comparison.json``.
        places: decimals of each headline metric.
    """
    chosen = comparison["headline"]
    metrics = {name: comparison["metrics"][name] for name in chosen.values()}
    head = [["Method"]] + [
        [*stacked(CRITERIA[criterion]), f"{escape(name)} {_ARROWS[metrics[name]['direction']]}".strip()]
        for criterion, name in chosen.items()
    ]
    rows = []
    for method in comparison["methods"]:
        cells = [_cell(metric, method["name"], places[name]) for name, metric in metrics.items()]
        rows += labelled(method["label"], [mean for mean, _ in cells], [interval for _, interval in cells])
    return table(caption(comparison), "tab:scores", head, rows) + "\n"


def _cell(metric: Mapping[str, Any], method: str, places: int) -> tuple[str, str]:
    """A mean, and its interval."""
    entry = metric["methods"].get(method)
    if entry is None:
        return "--", ""
    mean = f"{entry['mean']:.{places}f}"
    if metric["best"] == method:
        mean = rf"\textbf{{{mean}}}"
    if entry["low"] is None:
        return mean, ""
    return mean, rf"{{[}}{entry['low']:.{places}f}, {entry['high']:.{places}f}]"


def caption(comparison: Mapping[str, Any]) -> str:
    """What the summary table shows, in a sentence or two."""
    level = comparison["bootstrap"]["level"]
    count = len(comparison["prompts"])
    return (
        f"Means over {count} prompt{'s' if count != 1 else ''} with {level:.0%} bootstrap intervals, one metric per "
        "criterion. Bold: better than every other method, as the interval of the paired difference excludes zero and a "
        "sign-flip test agrees."
    )


def methods_section(comparison: Mapping[str, Any], settings: Mapping[str, Any], made: Mapping[str, Any]) -> list[str]:
    """Paragraphs that say how the numbers were made.

    Args:
        comparison: as ``comparison.json``.
        settings: ``settings.json`` of one of the methods; what matters is the same for all.
        made: commit, dirty, versions.
    """
    paragraphs = [_material(comparison, settings), *_generation(comparison), _looking(settings)]
    return [*paragraphs, _statistics(comparison, settings), *_sets(comparison), _software(made)]


def _material(comparison: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    methods, videos = comparison["methods"], settings["videos"]
    count, prompts = sum(method["videos"] for method in methods), len(comparison["prompts"])
    text = (
        f"We compare {len(methods)} method{'s' if len(methods) != 1 else ''} on {prompts} prompts ({count} videos): "
        f"equirectangular, {videos['width']} × {videos['height']} pixels, {videos['frames']} frames at "
        f"{videos['fps']:g} frames per second. One metric stands for each criterion of the user study: "
    )
    text = text.replace("frames per second.", f"frames per second{_resampled(methods)}.", 1)
    chosen = [f"{name} for {CRITERIA[key].lower()}" for key, name in comparison["headline"].items()]
    return text + f"{listed(chosen)}; all others are reported in full."


def _resampled(methods: Sequence[Mapping[str, Any]]) -> str:
    """What was done to bring the videos there, if anything was, and to whose: methods may be scored differently."""
    by_how: dict[str, list[str]] = {}
    for method in methods:
        how = method.get("resample") or {}
        parts = (
            ("{width} × {height} pixels", "width"),
            ("{fps:g} frames per second", "fps"),
            ("{frames} frames", "frames"),
        )
        asked = listed([words.format(**how) for words, key in parts if how.get(key) is not None])
        by_how.setdefault(asked, []).append(method["label"])
    whole = ", to which they were resampled (no frame repeated or padded)"
    if len(by_how) == 1:
        return "" if "" in by_how else whole
    said = [f"those of {listed(names)} to {asked}" for asked, names in by_how.items() if asked]
    rest = f"; those of {listed(by_how[''])} are as they were made" if "" in by_how else ""
    return f"; resampled (no frame repeated or padded): {', '.join(said)}{rest}"


def _generation(comparison: Mapping[str, Any]) -> list[str]:
    """How the videos were made, as far as their manifests say: what all share, then what some have."""
    declared = {method["name"]: method["generator"] for method in comparison["methods"] if method["generator"]}
    if not declared:
        return []
    by_setting: dict[tuple[str, str], list[str]] = {}
    for name, generator in declared.items():
        for setting in generator.items():
            by_setting.setdefault(setting, []).append(name)
    shared = [f"{key} {value}" for (key, value), names in by_setting.items() if len(names) == len(declared)]
    others = [
        f"{key} {value} for {listed(names)}" for (key, value), names in by_setting.items() if len(names) < len(declared)
    ]
    whose = "The" if len(declared) == len(comparison["methods"]) else f"Of {listed(list(declared))} the"
    return [f"{whose} manifests say how the videos were made: {', '.join(shared + others)}."]


def _looking(settings: Mapping[str, Any]) -> str:
    views, judge = settings["views"], settings["judge"]
    if views:
        text = (
            f"Networks for flat pictures look at the sphere through the view set {views['set']} of perspective views "
            f"({views['fov_deg']:g} degrees wide, {views['size']} pixels), each weighted by the solid angle that it "
            "stands for; pixel metrics weight rows by the cosine of latitude."
        )
    else:
        text = "No metric looked through views; pixel metrics weight rows by the cosine of latitude."
    if judge:
        text += f" Text and views are compared by {judge['name']} (sha256 {judge['sha256'][:12]})."
    for role, network in settings.get("networks", {}).items():
        text += f" Weights of {role}: {network['name']} (sha256 {network['sha256'][:12]})."
    if settings.get("precision") == "bf16":
        text += " The judge and LPIPS count in bfloat16."
    if settings["reference_videos"]:
        text += f" The reference is {settings['reference_videos']} panoramic videos that no method made."
    versions = ", ".join(f"{name} {metric['version']}" for name, metric in settings["metrics"].items())
    return f"{text} Metric versions: {versions}."


def _statistics(comparison: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    bootstrap = settings["bootstrap"]
    count = len(comparison["methods"])
    pairs, prompts = count * (count - 1) // 2, len(comparison["prompts"])
    text = (
        f"Means are over prompts. Intervals are {bootstrap['interval']} bootstrap intervals at level "
        f"{bootstrap['level']:g} ({bootstrap['resamples']} resamples, seed {bootstrap['seed']}): prompts are "
        "resampled, then the seeds of each prompt."
    )
    if not pairs:
        return text
    return text + (
        " Methods are compared by paired differences on the same prompts, with two-sided sign-flip permutation tests "
        f"over prompts, Holm-corrected for the {pairs} pair{'s' if pairs != 1 else ''} of methods within each metric; "
        f"with {prompts} prompts no p-value can be below {_least_p(prompts):.2g}. "
        "Ranks are those of the means on resampled prompts."
    )


def _sets(comparison: Mapping[str, Any]) -> list[str]:
    """What distances between sets read for two halves of the reference, and which were not measured, if any."""
    floors = [
        f"{name} reads {metric['floor']['mean']:.3g} (up to {metric['floor']['high']:.3g})"
        for name, metric in comparison["metrics"].items()
        if metric["floor"]
    ]
    text = [f"Between two halves of the reference, alike by design, {listed(floors)}."] if floors else []
    text += [f"{name} has {reason}." for name, reason in comparison["refused"].items()]
    return [" ".join(text)] if text else []


def _least_p(prompts: int) -> float:
    return 2 / 2**prompts if prompts <= 14 else 1 / 20_001


def _software(made: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    commit = ""
    if made["commit"]:
        commit = f", commit {made['commit'][:12]}{' with uncommitted changes' if made['dirty'] else ''}"
    return f"Measured with panobench{commit} ({versions})."
