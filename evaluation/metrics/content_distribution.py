"""Is it laid out like a panorama: does each latitude look as that latitude looks in real panoramas?"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from core.errors import PanobenchError
from evaluation.features import Need, VideoFeatures
from evaluation.metrics.base import Criterion, Direction, Metric
from evaluation.metrics.claims import Claims, Floor, claims
from evaluation.pixels import REC_601

# Smallest spread of a statistic among the reference videos that is believed: below it, 8-bit rounding and compression
# decide. In the statistics' own units: grey levels / 255, and natural logarithms.
_LEAST_SPREAD = 0.02


def band_means(frames: np.ndarray, bands: int) -> np.ndarray:
    """Eight means over each latitude band of each frame, (F, bands, 8) float64, 0 to 1; see band_statistics.

    0-2 colour (R, G, B); 3 and 4 brightness and its square; 5 spread along the row; 6 and 7 absolute step to the right
    and down. Steps to the right wrap around, so a turn of the video changes nothing.

    Args:
        frames: (F, H, W, 3) uint8.
        bands: number of bands of equal latitude, at most H; heights that they do not divide give some a row more.
    """
    return np.stack([_frame_means(frame, bands) for frame in frames])


def _frame_means(frame: np.ndarray, bands: int) -> np.ndarray:
    x = frame.astype(np.float64) / 255
    grey = x @ np.array(REC_601)  # (H, W)
    # A row has its own step down except the last, which repeats the one before.
    down = np.abs(np.diff(grey, axis=0))
    down = np.concatenate([down, down[-1:]])
    right = np.abs(np.roll(grey, -1, axis=1) - grey)
    per_row = [*x.mean(axis=1).T, grey.mean(axis=1), (grey**2).mean(axis=1), grey.std(axis=1)]
    per_row += [right.mean(axis=1), down.mean(axis=1)]
    return np.stack([rows.mean(axis=0) for rows in np.array_split(np.stack(per_row, axis=1), bands)])


def band_statistics(means: np.ndarray) -> np.ndarray:
    """Eight statistics of each latitude band, (bands, 8) float64.

    0-2 mean colour (R, G, B, 0 to 1); 3 spread of brightness, 0 to 1; 4 spread along the row, averaged over rows, 0 to
    1; 5 and 6 log mean absolute step to the right and down (with 1/255 added); 7 the first minus the second, which on a
    sphere falls with cos(latitude) because rows are stretched, and is level in a flat picture.

    Bands are of equal latitude: the poles are small on the sphere, but it is there that a flat picture gives itself
    away.

    Args:
        means: (F, bands, 8) from band_means.
    """
    red, green, blue, grey, square, along, right, down = means.mean(axis=0).T
    spread = np.sqrt(np.maximum(square - grey**2, 0))
    log_right, log_down = (np.log(step + 1 / 255) for step in (right, down))
    return np.stack([red, green, blue, spread, along, log_right, log_down, log_right - log_down], axis=1)


def shrunk_covariance(samples: np.ndarray) -> np.ndarray:
    """Covariance (P, P) of centred samples (R, P), drawn towards a multiple of the identity as far as R is too few.

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices", lemma 3.1-3.4.
    """
    count, size = samples.shape
    covariance = samples.T @ samples / count
    target = np.trace(covariance) / size * np.eye(size)
    distance = ((covariance - target) ** 2).sum()
    # sum_k |x_k x_k' - S|^2 / R^2, multiplied out.
    noise = ((samples**2).sum(axis=1) ** 2).sum() / count**2 - (covariance**2).sum() / count
    share = min(noise / distance, 1.0) if distance > 0 else 1.0
    return (1 - share) * covariance + share * target


def distance_to_reference(statistics: np.ndarray, reference: np.ndarray) -> float:
    """Mahalanobis distance from the reference videos, divided by the square root of the number of statistics.

    Statistics that rise and fall together among real panoramas (all colours of a night, both kinds of steps of a rough
    ground) count as one, and what breaks their rule counts as much as it is rare.

    Args:
        statistics: (...) float64 of one video.
        reference: (R, ...) float64 of R >= 2 reference videos.
    """
    real = reference.reshape(len(reference), -1)
    mean, spread = real.mean(axis=0), np.maximum(real.std(axis=0, ddof=1), _LEAST_SPREAD)
    inverse = np.linalg.pinv(shrunk_covariance((real - mean) / spread), hermitian=True)
    z = (statistics.ravel() - mean) / spread
    return float(np.sqrt(max(z @ inverse @ z, 0.0) / z.size))


class ContentDistribution(Metric):
    """Distance of the layout by latitude from real panoramas, standard deviations, lower is better, about 1 if real.

    Colour and texture statistics per latitude band (band_statistics), as a Mahalanobis distance from the reference
    videos with a shrunk covariance. A perspective picture stretched to 2:1 is told from a panorama even if its colours
    are right: on the procedural world 93 to 98 % of pairs are ordered correctly for fields of view from 120 to 60
    degrees, against 63 to 80 % without the covariance. It judges one video at a time, so the number of videos does not
    bias it as it does a Frechet distance; the most average panorama, not the most varied set, scores best.
    Source: this project, after the per-latitude idea of FAED (Oh et al. 2022).
    """

    name: ClassVar[str] = "content_distribution"
    unit: ClassVar[str] = "standard deviations"
    direction: ClassVar[Direction] = "lower"
    criterion: ClassVar[Criterion] = "content_distribution"
    version: ClassVar[int] = 1
    summary: ClassVar[str] = "colour and texture by latitude against reference panoramas; 1 = as typical as a real one"
    needs: ClassVar[frozenset[Need]] = frozenset({"reference"})
    claims: ClassVar[Claims] = claims(
        rises="perspective noise", level="shuffled frozen", floor=Floor("clean", 0.6, 1.5)
    )
    bands: int = Field(8, ge=2, le=64)

    def update(self, video: VideoFeatures) -> np.ndarray:
        """See band_means."""
        height = video.frames.shape[1]
        if height < self.bands:
            raise PanobenchError(f"scoring.metrics.content_distribution.bands: {self.bands} for {height} rows")
        return band_means(video.new(video.frames), self.bands)

    def digest(self, rows: np.ndarray) -> np.ndarray:
        """See band_statistics."""
        return band_statistics(rows)

    def compute(self, rows: np.ndarray, reference: np.ndarray | None = None) -> float:
        """See distance_to_reference."""
        assert reference is not None
        return distance_to_reference(self.digest(rows), reference)
