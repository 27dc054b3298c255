"""Projections of the sphere: the one place where longitude, latitude, pixels and directions meet.

Conventions, for the whole project
    ERP (equirectangular) tensors are ``(..., H, W)`` with ``W = 2 H``. Longitude grows from left to right over
    [-pi, pi), latitude is +pi/2 at the top, and pixel centres lie at half-integers: column j is at
    ``lon = (j + 1/2) / W * 2 pi - pi``, row i at ``lat = pi/2 - (i + 1/2) / H * pi``.
    Directions are ``(cos lat sin lon, sin lat, cos lat cos lon)``: x right, y up, z forward; longitude 0 is forward
    and the centre of the picture.
    Yaw > 0 turns the viewer to the right (towards growing longitude), pitch > 0 up, roll > 0 tilts the viewer
    clockwise (right side down, so the picture turns counter-clockwise). Angles are radians.

Everything is PyTorch, differentiable in the pixels and in the directions, and runs where its inputs are.
Sampling pads the ERP circularly in longitude and across the poles (rows past a pole are the rows before it, shifted by
half a turn), so neither the seam nor a pole is an edge. On a direction-encoded 1024 x 512 image the error is below
0.01 px everywhere (``tests/core/test_sphere.py``).
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Interpolation = Literal["bilinear", "bicubic", "nearest"]
#: Pixels of the surroundings that each takes.
_MARGINS = {"bilinear": 1, "bicubic": 2, "nearest": 1}

#: Order of cube faces, and the (yaw, pitch) of the 90-degree view that each face is.
CUBE_FACES = ("front", "right", "back", "left", "up", "down")
_CUBE_ANGLES = (
    (0.0, 0.0),
    (math.pi / 2, 0.0),
    (math.pi, 0.0),
    (-math.pi / 2, 0.0),
    (0.0, math.pi / 2),
    (0.0, -math.pi / 2),
)


def check_erp(x: Tensor) -> tuple[int, int]:
    """Height and width of an ERP tensor ``(..., H, W)``.

    Raises:
        ValueError: the last two dimensions are not H x 2H, or H is zero.
    """
    if x.ndim < 2:
        raise ValueError(f"an ERP tensor ends in (H, W); this one has shape {tuple(x.shape)}")
    height, width = x.shape[-2:]
    if height == 0 or width != 2 * height:
        raise ValueError(f"an ERP picture is twice as wide as high; this one is {width} x {height} (width x height)")
    return height, width


# --- angles and directions -------------------------------------------------------------------------------------------


def erp_lonlat(
    height: int,
    width: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Latitude of each row ``(H,)`` and longitude of each column ``(W,)``, radians, at pixel centres.

    Note the order, that of the image dimensions: latitude first.
    """
    rows = torch.arange(height, device=device, dtype=torch.float64)
    columns = torch.arange(width, device=device, dtype=torch.float64)
    lat = math.pi / 2 - (rows + 0.5) / height * math.pi
    lon = (columns + 0.5) / width * (2 * math.pi) - math.pi
    return lat.to(dtype), lon.to(dtype)


def latitude_weights(
    height: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Area weight of each row, ``(H,)``: cos(lat), in (0, 1], not normalised (WS-PSNR, Sun et al. 2017, eq. 8)."""
    return erp_lonlat(height, 1, device, torch.float64)[0].cos().to(dtype)


def lonlat_to_directions(lon: Tensor, lat: Tensor) -> Tensor:
    """Unit vectors ``(..., 3)`` of longitudes and latitudes in radians (broadcast against each other).

    A latitude past a pole is what it says: the point beyond the pole, on the opposite meridian.
    """
    lon, lat = torch.broadcast_tensors(lon, lat)
    return torch.stack((lat.cos() * lon.sin(), lat.sin(), lat.cos() * lon.cos()), dim=-1)


def directions_to_lonlat(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Longitude in [-pi, pi] and latitude in [-pi/2, pi/2], each ``(...)``, of vectors ``(..., 3)`` of any length.

    Two-argument arctangents keep full precision at the poles, where an arcsine loses half of the digits.
    """
    x, y, z = directions.unbind(-1)
    tiny = torch.finfo(directions.dtype).tiny
    return torch.atan2(x, z), torch.atan2(y, (x * x + z * z).clamp_min(tiny).sqrt())


def erp_directions(
    height: int,
    width: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Unit direction of every ERP pixel, ``(H, W, 3)``."""
    lat, lon = erp_lonlat(height, width, device, torch.float64)
    return lonlat_to_directions(lon[None, :], lat[:, None]).to(dtype)


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Great-circle angle in radians, [0, pi], between unit vectors ``(..., 3)``.

    Kahan's form, exact for tiny angles too, where arccos(a . b) in float32 cannot see less than 0.02 degrees.
    """
    return 2 * torch.atan2(torch.linalg.vector_norm(a - b, dim=-1), torch.linalg.vector_norm(a + b, dim=-1))


def rotation_matrix(
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Rotation ``(3, 3)`` from the viewer's axes to the world's: roll first, then pitch, then yaw.

    ``R @ (0, 0, 1)`` is where a viewer with these angles looks.
    """
    cy, sy = math.cos(yaw), math.sin(yaw)
    cp, sp = math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    turn = torch.tensor([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]], dtype=torch.float64)
    lift = torch.tensor([[1.0, 0.0, 0.0], [0.0, cp, sp], [0.0, -sp, cp]], dtype=torch.float64)
    tilt = torch.tensor([[cr, sr, 0.0], [-sr, cr, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return (turn @ lift @ tilt).to(device=device, dtype=dtype)


def view_directions(
    height: int,
    width: int,
    fov_x: float,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Unit direction of every pixel of a perspective (pinhole, square pixels) view, ``(h, w, 3)``.

    ``fov_x`` is the horizontal field of view in radians, from the left edge of the first pixel to the right edge of
    the last, in (0, pi).
    """
    if not 0 < fov_x < math.pi:
        raise ValueError(f"a perspective field of view lies in (0, pi) radians, not {fov_x:g}")
    half = math.tan(fov_x / 2)
    x = ((torch.arange(width, dtype=torch.float64) + 0.5) / width * 2 - 1) * half
    y = (1 - (torch.arange(height, dtype=torch.float64) + 0.5) / height * 2) * half * height / width
    y, x = torch.meshgrid(y, x, indexing="ij")
    rays = F.normalize(torch.stack((x, y, torch.ones_like(x)), dim=-1), dim=-1)
    rays = rays @ rotation_matrix(yaw, pitch, roll, dtype=torch.float64).T
    return rays.to(device=device, dtype=dtype)


# --- padding and rolling ---------------------------------------------------------------------------------------------


def roll_erp(x: Tensor, pixels: int) -> Tensor:
    """Move the content of ``(..., H, W)`` right by whole pixels around the sphere: the viewer turns left."""
    return torch.roll(x, pixels, dims=-1)


def pad_wrap(x: Tensor, left: int, right: int) -> Tensor:
    """Continue ``(..., W)`` around the sphere: ``(..., left + W + right)``. Any amount, also more than W."""
    width = x.shape[-1]
    if max(left, right) <= width:  # a few times as fast as picking columns
        return torch.cat((x[..., width - left :], x, x[..., :right]), dim=-1)
    columns = torch.arange(-left, width + right, device=x.device) % width
    return x.index_select(-1, columns)


def pad_sphere(x: Tensor, lon: int, lat: int) -> Tensor:
    """Continue an ERP ``(..., H, W)`` around the sphere and over the poles: ``(..., H + 2 lat, W + 2 lon)``.

    Rows past a pole are the rows before it in reverse order, shifted by half a turn.
    """
    height, width = check_erp(x)
    if lat > height:
        raise ValueError(f"cannot pad {lat} rows over a pole: the picture has {height}")
    if lat:
        over = [torch.roll(rows, width // 2, dims=-1).flip(-2) for rows in (x[..., :lat, :], x[..., height - lat :, :])]
        x = torch.cat((over[0], x, over[1]), dim=-2)
    return pad_wrap(x, lon, lon) if lon else x


# --- sampling --------------------------------------------------------------------------------------------------------


def sample_erp(erp: Tensor, directions: Tensor, mode: Interpolation = "bilinear") -> Tensor:
    """Colour of the sphere along directions.

    Args:
        erp: ``(N, C, H, 2H)``, floating, any range. Half precision is sampled in float32.
        directions: ``(h, w, 3)`` for all, or ``(N, h, w, 3)``, any length but zero.
        mode: interpolation in the ERP plane.

    Returns:
        ``(N, C, h, w)``, the dtype of ``erp``.
    """
    height, width = check_erp(erp)
    if directions.ndim == 3:
        directions = directions[None]
    work = torch.promote_types(erp.dtype, torch.float32)
    lon, lat = directions_to_lonlat(directions.to(device=erp.device, dtype=work))
    # Continuous coordinates with the first pixel over [0, 1].
    return sample_erp_pixels(erp, (lon / (2 * math.pi) + 0.5) * width, (0.5 - lat / math.pi) * height, mode)


def sample_erp_pixels(erp: Tensor, x: Tensor, y: Tensor, mode: Interpolation = "bilinear") -> Tensor:
    """Colour of the sphere at places in the ERP plane: what ``sample_erp`` does once it knows where to look.

    Args:
        erp: as ``sample_erp``.
        x: ``(N or 1, h, w)``, columns; pixel j covers [j, j + 1]. Kept within the padding: at most a pixel outside.
        y: as x, rows, never over a pole: ``fold_over_poles`` brings what is back.
        mode: as ``sample_erp``.

    Returns:
        ``(N, C, h, w)``, the dtype of ``erp``.
    """
    work = torch.promote_types(erp.dtype, torch.float32)
    return sample_erp_grid(
        erp, sampling_grid(x.to(erp.device, work), y.to(erp.device, work), erp.shape[-2], mode), mode
    )


def sampling_grid(x: Tensor, y: Tensor, height: int, mode: Interpolation = "bilinear") -> Tensor:
    """Places in the plane of an ERP of so many rows, as ``sample_erp_grid`` takes them: ``(N or 1, h, w, 2)``.

    Args:
        x: as ``sample_erp_pixels``, and y.
        y: as x.
        height: of the ERP.
        mode: as ``sample_erp``.
    """
    margin = _MARGINS[mode]
    # In the padded picture, then to grid_sample's [-1, 1].
    columns, rows = (x + margin) / (2 * height + 2 * margin), (y + margin) / (height + 2 * margin)
    return torch.stack((columns * 2 - 1, rows * 2 - 1), dim=-1)


def sample_erp_grid(erp: Tensor, grid: Tensor, mode: Interpolation = "bilinear") -> Tensor:
    """``sample_erp_pixels`` at the places of a ``sampling_grid``, which many pictures may share."""
    check_erp(erp)
    if erp.ndim != 4 or not erp.is_floating_point():
        raise ValueError(f"expected a floating (N, C, H, W) tensor, got {erp.dtype} of shape {tuple(erp.shape)}")
    padded = pad_sphere(erp.to(grid.dtype), _MARGINS[mode], _MARGINS[mode])
    grid = grid.expand(len(erp), *grid.shape[1:])
    return F.grid_sample(padded, grid, mode=mode, padding_mode="border", align_corners=False).to(erp.dtype)


def fold_over_poles(x: Tensor, y: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Places in the plane of an ERP of so many rows, anywhere, brought into it: x to [0, 2H], y to [0, H].

    Off the right edge one comes in at the left; over a pole, on the opposite meridian.
    """
    y = torch.remainder(y, 2 * height)
    over = y > height
    return torch.remainder(x + over * height, 2 * height), torch.where(over, 2 * height - y, y)


def erp_to_view(
    erp: Tensor,
    height: int,
    width: int,
    fov_x: float,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    mode: Interpolation = "bilinear",
) -> Tensor:
    """Perspective view ``(N, C, height, width)`` of an ERP ``(N, C, H, 2H)``; angles in radians.

    No low-pass filter: choose a view about as fine as the ERP (``fov_x / 2 pi * W`` pixels wide) to avoid aliasing.
    """
    return sample_erp(erp, view_directions(height, width, fov_x, yaw, pitch, roll, erp.device), mode)


def view_to_erp(
    view: Tensor,
    height: int,
    width: int,
    fov_x: float,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Paste a perspective view ``(N, C, h, w)`` on the sphere.

    Returns:
        The ERP ``(N, C, height, width)``, zero where the view does not reach, and the mask ``(height, width)``, bool,
        true where it does.
    """
    if not 0 < fov_x < math.pi:
        raise ValueError(f"a perspective field of view lies in (0, pi) radians, not {fov_x:g}")
    work = torch.promote_types(view.dtype, torch.float32)
    to_viewer = rotation_matrix(yaw, pitch, roll, view.device, torch.float64)  # d @ R is R^T applied to d
    rays = erp_directions(height, width, view.device, torch.float64) @ to_viewer
    x, y, z = rays.unbind(-1)
    half = math.tan(fov_x / 2)
    depth = z.clamp_min(1e-9)
    u, v = x / depth / half, -y / depth / half * view.shape[-1] / view.shape[-2]
    inside = (z > 0) & (u.abs() <= 1) & (v.abs() <= 1)
    grid = torch.stack((u, v), dim=-1).clamp(-2, 2).to(work).expand(len(view), height, width, 2)
    erp = F.grid_sample(view.to(work), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return (erp * inside).to(view.dtype), inside


# --- cube maps -------------------------------------------------------------------------------------------------------


def erp_to_cubemap(erp: Tensor, face: int, mode: Interpolation = "bilinear") -> Tensor:
    """Six 90-degree views ``(N, 6, C, face, face)`` in the order of ``CUBE_FACES``, of an ERP ``(N, C, H, 2H)``.

    The top of "up" touches "back", the top of "down" touches "front": each face is what a viewer sees who turns there.
    """
    views = [erp_to_view(erp, face, face, math.pi / 2, yaw, pitch, mode=mode) for yaw, pitch in _CUBE_ANGLES]
    return torch.stack(views, dim=1)


def cubemap_to_erp(faces: Tensor, height: int, width: int) -> Tensor:
    """ERP ``(N, C, height, width)`` of a cube map ``(N, 6, C, f, f)`` in the order of ``CUBE_FACES``.

    Each face is first continued by one pixel of its neighbours, so edges are interpolated as the interior is.
    """
    if faces.ndim != 5 or faces.shape[1] != 6 or faces.shape[-1] != faces.shape[-2]:
        raise ValueError(f"a cube map is (N, 6, C, f, f); this one is {tuple(faces.shape)}")
    work = torch.promote_types(faces.dtype, torch.float32)
    size = faces.shape[-1]
    flat = faces.to(work).flatten(0, 1)
    bordered = F.pad(flat, (1, 1, 1, 1), mode="replicate").unflatten(0, faces.shape[:2])
    # The rays of a face two pixels larger; its outer ring lies on the neighbours.
    grown = 2 * math.atan((size + 2) / size)
    rays = [view_directions(size + 2, size + 2, grown, y, p, device=faces.device) for y, p in _CUBE_ANGLES]
    ring = torch.stack([_sample_faces(bordered, r) for r in rays], dim=1)
    ring[..., 1:-1, 1:-1] = faces.to(work)
    return _sample_faces(ring, erp_directions(height, width, faces.device)).to(faces.dtype)


def _sample_faces(bordered: Tensor, directions: Tensor) -> Tensor:
    """Sample ``(N, 6, C, f + 2, f + 2)``, faces with a border of one pixel, along ``(h, w, 3)``: ``(N, C, h, w)``."""
    size = bordered.shape[-1]
    rotations = torch.stack([rotation_matrix(y, p, dtype=torch.float64) for y, p in _CUBE_ANGLES])
    rotations = rotations.to(directions.device, directions.dtype)
    local = torch.einsum("fij,hwi->fhwj", rotations, directions)  # the directions in each face's own axes
    face = local[..., 2].argmax(dim=0)  # the face whose axis is nearest
    x, y, z = local.gather(0, face[None, :, :, None].expand(1, *face.shape, 3))[0].unbind(-1)
    # Position in the face's pixels, then in the faces stacked into one column, whose borders keep neighbours apart.
    column = (x / z + 1) / 2 * (size - 2) + 1
    row = (1 - y / z) / 2 * (size - 2) + 1 + face * size
    atlas = bordered.transpose(1, 2).flatten(2, 3)  # (N, C, 6 (f + 2), f + 2)
    grid = torch.stack((column / size * 2 - 1, row / (6 * size) * 2 - 1), dim=-1).to(atlas.dtype)
    grid = grid.expand(len(atlas), *grid.shape)
    return F.grid_sample(atlas, grid, mode="bilinear", padding_mode="border", align_corners=False)


# --- rotation --------------------------------------------------------------------------------------------------------


def rotate_erp(erp: Tensor, rotation: Tensor, mode: Interpolation = "bilinear") -> Tensor:
    """The ERP that a viewer sees who has turned by ``rotation`` ``(3, 3)``: out(d) = in(R d).

    A yaw by k whole pixels, ``rotation_matrix(yaw=2 pi k / W)``, equals ``roll_erp(erp, -k)``.
    """
    height, width = check_erp(erp)
    rays = erp_directions(height, width, erp.device, torch.float64)
    return sample_erp(erp, rays @ rotation.to(erp.device, torch.float64).T, mode)
