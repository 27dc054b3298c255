"""360DVD's only published result, its Table 1: a user study of 31 raters x 8 prompts, best of four.

The percentages stand as printed; the counts of 248 choices behind them give them back within the printed rounding.
"""

RATERS, PROMPTS = 31, 8
CHOICES = RATERS * PROMPTS
LABEL = f"360DVD (CVPR 2024), Table 1: best-of-four, n={CHOICES} per criterion"
#: Method -> what it is called in the paper.
METHODS = {
    "animatediff": "AnimateDiff",
    "panorama_lora": "AnimateDiff + panorama LoRA",
    "enhanced_360": "AnimateDiff + panorama LoRA + 360ET",
    "360dvd": "360DVD",
}
#: Criterion -> how often each method was chosen, and the percentage printed, in the order of METHODS.
COUNTS = {
    "graphics": (28, 35, 57, 128),
    "consistency": (38, 26, 24, 160),
    "continuity": (13, 15, 42, 178),
    "content": (12, 30, 40, 166),
    "motion": (11, 16, 36, 185),
}
PRINTED = {
    "graphics": (11.3, 14.1, 23.0, 51.6),
    "consistency": (15.3, 10.5, 9.7, 64.5),
    "continuity": (5.3, 6.0, 16.9, 71.8),
    "content": (4.8, 12.1, 16.1, 67.0),
    "motion": (4.4, 6.5, 14.5, 74.6),
}


def percentages() -> dict[str, dict[str, float]]:
    """Criterion -> method -> percent of the choices, as printed."""
    return {criterion: dict(zip(METHODS, values, strict=True)) for criterion, values in PRINTED.items()}
