"""The volume on which a child's organs are painted as tissue labels.

Axes are those of DICOM's patient coordinates: x to the patient's left, y to posterior, z to the head. Places and radii
of organs are relative to the body: x to half its width, y to half its depth, z to the trunk's length, with z = 0 at the
pelvic floor.
"""

from collections.abc import Collection, Sequence

import numpy as np

from nbcad.datasets.phantom.child import Child
from nbcad.datasets.phantom.physics import Tissue, smooth_noise

Triple = Sequence[float] | np.ndarray  # (z, y, x), relative to the body
Part = tuple[slice, ...]  # of the canvas, by indices of voxels; () is the whole canvas


class Canvas:
    """The volume on which organs are painted, in relative coordinates that are bent a little for each patient."""

    def __init__(self, child: Child, rng: np.random.Generator, arms: bool):
        self.child, self.rng = child, rng
        self.scale = np.array([child.trunk, child.half_depth, child.half_width])  # mm per relative unit, (z, y, x)
        fine = float(np.clip(child.half_width / 80, 0.9, 1.6))  # mm; in relative units about the same at every age
        self.step = np.array([2 * fine, fine, fine])
        reach = np.array([[-0.06, 1.08], [-1.1, 1.1], [-1.5, 1.5] if arms else [-1.1, 1.1]])
        self.origin = reach[:, 0] * self.scale
        self.shape = tuple(((reach[:, 1] - reach[:, 0]) * self.scale / self.step).astype(int))
        axes = [
            (o + s * np.arange(n)) / u
            for o, s, n, u in zip(self.origin, self.step, self.shape, self.scale, strict=True)
        ]
        self.axes = [a.astype(np.float32) for a in axes]
        coarse = (6, 5, 6)  # control points, few, so that organs bend as a whole
        bend = (0.008, 0.035, 0.035)  # relative units
        self.z, self.y, self.x = (
            a.reshape([-1 if n == axis else 1 for n in range(3)]) + b * smooth_noise(rng, self.shape, coarse)
            for axis, (a, b) in enumerate(zip(self.axes, bend, strict=True))
        )
        lumps = tuple(max(4, int(n * s / 14)) for n, s in zip(self.shape, self.step, strict=True))  # one per 14 mm
        self.rough = smooth_noise(rng, self.shape, lumps)
        self.labels = np.zeros(self.shape, np.uint8)

    def box(self, centre: Triple, radii: Triple) -> Part:
        """Return the part of the canvas within ``radii`` of ``centre``, with a margin."""
        part = []
        for axis, c, r, margin in zip(self.axes, centre, radii, (0.03, 0.12, 0.12), strict=True):
            first, last = np.searchsorted(axis, (c - r * 1.15 - margin, c + r * 1.15 + margin))
            part.append(slice(int(first), int(last)))
        return tuple(part)

    def put(self, box: Part, inside: np.ndarray, tissue: Tissue, over: Collection[Tissue] | None = None) -> None:
        """Label the voxels ``inside`` of ``box``, only over tissues of ``over`` (over all of them by default)."""
        part = self.labels[box]
        if over is not None:
            allowed = np.zeros(256, bool)
            allowed[list(over)] = True
            inside = inside & allowed[part]
        part[inside] = tissue

    def ellipsoid(
        self,
        centre: Triple,
        radii: Triple,
        tissue: Tissue,
        over: Collection[Tissue] | None = None,
        rough: float = 0.0,
        tilt: float = 0.0,
    ) -> None:
        """Paint an ellipsoid; ``tilt`` leans its long axis sideways (relative x per relative z)."""
        box = self.box(centre, (radii[0], radii[1], radii[2] + abs(tilt) * radii[0]))
        inside = self.inside(box, centre, radii, rough, tilt)
        self.put(box, inside, tissue, over)

    def inside(self, box: Part, centre: Triple, radii: Triple, rough: float = 0.0, tilt: float = 0.0) -> np.ndarray:
        """Return the voxels of ``box`` within an ellipsoid whose surface is ``rough`` (relative), bool."""
        z = self.z[box] - centre[0]
        distance = (z / radii[0]) ** 2
        distance += ((self.y[box] - centre[1]) / radii[1]) ** 2
        distance += ((self.x[box] - centre[2] - tilt * z) / radii[2]) ** 2
        if rough:
            distance *= 1 + rough * self.rough[box]
        return distance < 1

    def tube(
        self,
        points: Sequence[Triple] | np.ndarray,
        radius: float,
        tissue: Tissue,
        over: Collection[Tissue] | None = None,
    ) -> None:
        """Paint a vessel through ``points``, whose z rises; ``radius`` is in mm."""
        points = np.asarray(points, dtype=float)
        centre, reach = (points.max(0) + points.min(0)) / 2, (points.max(0) - points.min(0)) / 2
        mm = np.array([0.0, radius, radius]) / self.scale
        box = self.box(centre, reach + mm)
        z = self.z[box]
        y, x = (np.interp(z, points[:, 0], points[:, n]).astype(np.float32) for n in (1, 2))
        inside = ((self.y[box] - y) / mm[1]) ** 2 + ((self.x[box] - x) / mm[2]) ** 2 < 1
        inside &= (z >= points[0, 0]) & (z <= points[-1, 0])
        self.put(box, inside, tissue, over)

    def vary(
        self, centre: Triple, radii: Triple, shift: float = 0.04, size: float = 0.1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the place and the size of an organ, varied for the patient."""
        move = self.rng.normal(0, 1, 3).clip(-2, 2) * np.array([0.25, 1, 1]) * shift
        grow = np.exp(self.rng.normal(0, size, 3).clip(-2 * size, 2 * size))
        return np.asarray(centre) + move, np.asarray(radii) * grow
