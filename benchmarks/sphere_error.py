"""How exact the projections of core.sphere are, in pixels, beside py360convert's.

    python -m benchmarks.sphere_error [--height 512] [--device cpu]

Every pixel of a picture holds its own direction, so what a projection gives can be compared with what it should give:
the great-circle angle between both, in pixels of the ERP at the equator. Seam and poles are looked at by themselves.
"""

import math

import click
import numpy as np
import torch
from torch import Tensor

from core import sphere

BOUND_PX = 0.01  # what the project promises at 1024 x 512


def directions_as_picture(height: int, device: str) -> Tensor:
    """(1, 3, H, 2H): every pixel's direction."""
    return sphere.erp_directions(height, 2 * height, device).permute(2, 0, 1)[None]


def error_px(found: Tensor, true: Tensor, height: int) -> float:
    """Largest angle between (1, 3, h, w) and (h, w, 3), in pixels."""
    found = torch.nn.functional.normalize(found[0].permute(1, 2, 0).double(), dim=-1)
    return float(sphere.angle_between(found, true.double().to(found)).max() / math.pi * height)


def measure(height: int, device: str = "cpu", draws: int = 400) -> dict[str, float]:
    """Operation -> largest error in pixels."""
    generator = torch.Generator().manual_seed(0)
    picture = directions_as_picture(height, device)
    spread = torch.rand(draws, draws, generator=generator) * 2 - 1
    everywhere = torch.nn.functional.normalize(torch.randn(draws, draws, 3, generator=generator), dim=-1)
    latitude = (torch.rand(draws, draws, generator=generator) - 0.5) * math.pi
    seam = sphere.lonlat_to_directions(math.pi + 0.01 * spread, latitude)
    poles = torch.stack([0.01 * spread, torch.sign(spread).roll(7, 0), 0.01 * spread.T], dim=-1)
    found = {}
    for name, rays in {"ERP -> directions": everywhere, "... at the seam": seam, "... at the poles": poles}.items():
        rays = torch.nn.functional.normalize(rays, dim=-1)
        found[name] = error_px(sphere.sample_erp(picture, rays.to(device)), rays.to(device), height)
    angles = (2.9, -0.7, 0.4)
    view = sphere.view_directions(height, height, math.pi / 2, *angles, device=device)
    found["ERP -> view"] = error_px(sphere.sample_erp(picture, view), view, height)
    own = sphere.erp_directions(height, 2 * height, device)
    pasted, inside = sphere.view_to_erp(view.permute(2, 0, 1)[None], height, 2 * height, math.pi / 2, *angles)
    # The outer half pixel of a view has no neighbour to be interpolated with.
    inner = _inner(own, angles, height) & inside
    found["view -> ERP"] = error_px(pasted[..., inner][:, :, None], own[inner][None], height)
    matrix = sphere.rotation_matrix(*angles, dtype=torch.float64)
    found["rotation"] = error_px(sphere.rotate_erp(picture, matrix), own.double().cpu() @ matrix.T, height)
    face = height // 2
    faces = sphere.erp_to_cubemap(picture, face)
    rays = [sphere.view_directions(face, face, math.pi / 2, yaw, pitch) for yaw, pitch in sphere._CUBE_ANGLES]
    found["ERP -> cube map"] = max(error_px(faces[:, i], rays[i], height) for i in range(6))
    exact = torch.stack([r.permute(2, 0, 1) for r in rays])[None].to(device)
    found["cube map -> ERP"] = error_px(sphere.cubemap_to_erp(exact, height, 2 * height), own, height)
    return found


def _inner(rays: Tensor, angles: tuple[float, float, float], size: int) -> Tensor:
    """Directions (H, W, 3) that a square 90-degree view holds at least half a pixel from its edge."""
    local = rays.double() @ sphere.rotation_matrix(*angles, device=rays.device, dtype=torch.float64)
    reach = 1 - 1 / size
    x, y, z = local.unbind(-1)
    return (z > 0) & ((x / z).abs() <= reach) & ((y / z).abs() <= reach)


def py360convert_error(height: int) -> float:
    """The same for a view of py360convert, whose grid is corner-aligned, in pixels."""
    import py360convert

    picture = directions_as_picture(height, "cpu")[0].permute(1, 2, 0).numpy()
    view = py360convert.e2p(picture, 90, math.degrees(2.9), math.degrees(-0.7), (height, height))
    rays = sphere.view_directions(height, height, math.pi / 2, 2.9, -0.7)
    return error_px(torch.from_numpy(np.ascontiguousarray(view)).permute(2, 0, 1)[None], rays, height)


@click.command()
@click.option("--height", default=512, show_default=True, help="Rows of the ERP; it is twice as wide.")
@click.option("--device", default="cpu", show_default=True, help="Where it is computed: cpu, cuda, ...")
def main(height: int, device: str) -> None:
    """Print the largest error of every projection, in pixels of an ERP of this height."""
    found = measure(height, device)
    width = max(len(name) for name in found) + 2
    click.echo(f"largest error at {2 * height} x {height} on {device}, pixels")
    for name, error in found.items():
        click.echo(f"  {name:{width}}{error:.5f}")
    click.echo(f"  {'largest of all':{width}}{max(found.values()):.5f}   (promised at 1024 x 512: {BOUND_PX})")
    click.echo(f"py360convert, ERP -> view (corner-aligned grid): {py360convert_error(height):.5f}")


if __name__ == "__main__":
    main()
