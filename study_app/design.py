"""Who sees which pair, in which order, on which side.

A cell is one pair of methods on one prompt. Raters are numbered in the order in which they begin.

- *full*: everybody sees every cell; the sides of raters 2k and 2k+1 mirror each other.
- *half*: raters come in groups of four. The first sees one half of the cells, the second the other half; the third and
  fourth see the same halves with the sides mirrored. Each half holds every pair and every prompt equally often (within
  one where the number is odd), so it is a balanced incomplete block design with the pairs as treatments.
- *best-of-four*: everybody sees every prompt once, all methods at a time; over the prompts of a rater, and over the
  raters of a prompt, every method stands at every place equally often (Latin squares).

Within a rater every method stands on the left as often as on the right (within one), and no prompt comes twice running.
Everything is drawn from HMAC-SHA256 of the study's key, so it can be drawn again and cannot be guessed from outside.
"""

import hmac
import random
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True)
class Trial:
    """One comparison: index of the prompt, and of the methods from left to right."""

    prompt: int
    methods: tuple[int, ...]

    @property
    def left(self) -> int:
        """The first method."""
        return self.methods[0]

    @property
    def right(self) -> int:
        """The second one."""
        return self.methods[1]

    @property
    def pair(self) -> frozenset[int]:
        """The methods, wherever they stand."""
        return frozenset(self.methods)


Cell = tuple[tuple[int, int], int]  # ((lower method, higher method), prompt)


def seeded(key: bytes, purpose: str) -> random.Random:
    """A random generator of its own for each purpose, from HMAC-SHA256(key, purpose)."""
    return random.Random(hmac.digest(key, purpose.encode(), "sha256"))


def schedule(key: bytes, rater: int, methods: int, prompts: int, mode: str) -> list[Trial]:
    """The trials of rater number ``rater`` (from 0), in the order in which they are shown.

    Raises:
        ValueError: fewer than two methods, no prompt, or an unknown mode.
    """
    if methods < 2 or prompts < 1 or rater < 0:
        raise ValueError(f"no comparison with {methods} methods, {prompts} prompts, rater {rater}")
    if mode == "half":
        group, phase = divmod(rater, 4)
        second_half, mirrored = bool(phase & 1), bool(phase & 2)
        half = _half(seeded(key, f"half/{group}"), methods, prompts)
        cells = [cell for cell in _cells(methods, prompts) if (cell in half) != second_half]
        sides = seeded(key, f"sides/{group}/{int(second_half)}")
    elif mode == "full":
        group, phase = divmod(rater, 2)
        mirrored = bool(phase)
        cells = _cells(methods, prompts)
        sides = seeded(key, f"sides/{group}")
    elif mode == "best-of-four":
        return _order(seeded(key, f"order/{rater}"), _latin(key, rater, methods, prompts))
    else:
        raise ValueError(f"unknown mode {mode!r}: expected 'half', 'full' or 'best-of-four'")
    trials = _choose_sides(sides, cells)
    if mirrored:
        trials = [Trial(trial.prompt, trial.methods[::-1]) for trial in trials]
    return _order(seeded(key, f"order/{rater}"), trials)


def trials_per_rater(methods: int, prompts: int, mode: str) -> int:
    """How many trials one rater gets (the larger half, where the number of cells is odd)."""
    if mode == "best-of-four":
        return prompts
    cells = methods * (methods - 1) // 2 * prompts
    return cells if mode == "full" else (cells + 1) // 2


def criterion_order(key: bytes, rater: int, criteria: list[str]) -> list[str]:
    """The order of the questions for one rater: shuffled between raters, the same on each of a rater's pages."""
    order = list(criteria)
    seeded(key, f"criteria/{rater}").shuffle(order)
    return order


def _latin(key: bytes, rater: int, methods: int, prompts: int) -> list[Trial]:
    """All methods at a time: each group of as many raters as methods shares one order, rotated by prompt and rater."""
    group, phase = divmod(rater, methods)
    rng = seeded(key, f"best/{group}")
    order, columns = list(range(methods)), list(range(prompts))
    rng.shuffle(order)
    rng.shuffle(columns)
    turns = [(phase + rank) % methods for rank in range(prompts)]
    return [Trial(prompt, tuple(order[turn:] + order[:turn])) for prompt, turn in zip(columns, turns, strict=True)]


def _cells(methods: int, prompts: int) -> list[Cell]:
    return [(pair, prompt) for pair in combinations(range(methods), 2) for prompt in range(prompts)]


def _half(rng: random.Random, methods: int, prompts: int) -> set[Cell]:
    """Half of the cells, with every pair and every prompt equally often, within one.

    A checkerboard over shuffled pairs and prompts has these counts; swapping the corners of random rectangles
    (x . / . x becomes . x / x .) keeps them and makes every such half reachable.
    """
    pairs, columns = list(combinations(range(methods), 2)), list(range(prompts))
    rng.shuffle(pairs)
    rng.shuffle(columns)
    chosen = [[(row + column) % 2 == 0 for column in range(prompts)] for row in range(len(pairs))]
    if len(pairs) > 1 and prompts > 1:
        for _ in range(20 * len(pairs) * prompts):
            top, bottom = rng.sample(range(len(pairs)), 2)
            left, right = rng.sample(range(prompts), 2)
            a, b, c, d = chosen[top][left], chosen[top][right], chosen[bottom][left], chosen[bottom][right]
            if a == d and b == c and a != b:
                chosen[top][left] = chosen[bottom][right] = b
                chosen[top][right] = chosen[bottom][left] = a
    return {(pairs[r], columns[c]) for r in range(len(pairs)) for c in range(prompts) if chosen[r][c]}


def _choose_sides(rng: random.Random, cells: list[Cell]) -> list[Trial]:
    """Give each cell a left and a right, so that each method is left and right equally often, within one.

    Two cells of one pair cancel each other. What is left over, one cell for each pair with an odd count, is a graph
    over the methods; directing its edges along closed walks makes each method's left and right counts equal, and a
    method with an odd number of edges gets a difference of one (the walk passes through an extra node there).
    """
    by_pair: dict[tuple[int, int], list[int]] = {}
    for pair, prompt in cells:
        by_pair.setdefault(pair, []).append(prompt)
    trials, single = [], {}
    for (a, b), prompts in by_pair.items():
        rng.shuffle(prompts)
        half = len(prompts) // 2
        trials += [Trial(prompt, (a, b)) for prompt in prompts[:half]]
        trials += [Trial(prompt, (b, a)) for prompt in prompts[half : 2 * half]]
        if len(prompts) % 2:
            single[(a, b)] = prompts[-1]
    for left, right in _walks(rng, list(single)):
        trials.append(Trial(single[min(left, right), max(left, right)], (left, right)))
    return trials


def _walks(rng: random.Random, edges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same edges, directed so that each node's in- and out-degree differ by at most one."""
    outside = -1
    neighbours: dict[int, list[int]] = {}
    for a, b in edges:
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    for node in [node for node, others in neighbours.items() if len(others) % 2]:
        neighbours[node].append(outside)
        neighbours.setdefault(outside, []).append(node)
    for others in neighbours.values():
        rng.shuffle(others)
    directed = []
    # Every node has an even degree now, so a walk that cannot go on is back where it began.
    for start in neighbours:
        while neighbours[start]:
            node = start
            while neighbours[node]:
                following = neighbours[node].pop()
                neighbours[following].remove(node)
                if outside not in (node, following):
                    directed.append((node, following))
                node = following
    return directed


def _order(rng: random.Random, trials: list[Trial]) -> list[Trial]:
    """A random order with no prompt twice running, and, where it can be had, no pair of methods twice running.

    A prompt may come next only if the rest can still be ordered: a prompt with c of the n remaining trials needs
    c <= (n + 1) / 2, or c <= n / 2 if it has just been shown. With a single prompt there is nothing to separate.
    """
    waiting: dict[int, list[Trial]] = {}
    for trial in trials:
        waiting.setdefault(trial.prompt, []).append(trial)
    ordered: list[Trial] = []
    for left_after in range(len(trials) - 1, -1, -1):
        previous = ordered[-1] if ordered else None
        allowed = [prompt for prompt in waiting if _may_follow(prompt, waiting, previous, left_after)]
        candidates = [trial for prompt in allowed or waiting for trial in waiting[prompt]]
        other_pairs = [trial for trial in candidates if previous is None or trial.pair != previous.pair]
        chosen = rng.choice(other_pairs or candidates)
        waiting[chosen.prompt].remove(chosen)
        ordered.append(chosen)
    return ordered


def _may_follow(prompt: int, waiting: dict[int, list[Trial]], previous: Trial | None, left_after: int) -> bool:
    if previous is not None and previous.prompt == prompt:
        return False
    for other, rest in waiting.items():
        count = len(rest) - (other == prompt)
        if count > (left_after if other == prompt else left_after + 1) // 2:
            return False
    return True
