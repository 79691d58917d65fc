from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import augmentation
from nn.augmentation import Augmentation, Distortions
from nn.spec import AugmentationSpec

Bytes = NDArray[np.uint8]
Reals = NDArray[np.float64]

ALL = AugmentationSpec(shift=2, rotation=12, scale=0.12, shear=10, elastic=1.5, smoothness=4)
SHAPES = [(28, 28), (9, 14), (14, 9), (1, 1), (1, 20), (20, 1)]


def noise(shape: tuple[int, ...], rng: np.random.Generator) -> Bytes:
    return rng.integers(0, 256, shape, np.uint8)


def distorted(
    picture: Bytes,
    *,
    scale: tuple[float, float] = (1, 1),
    shear: float = 0,
    rotation: float = 0,
    shift: tuple[float, float] = (0, 0),
) -> Bytes:
    """One picture `(height, width)` under distortions that are told, not drawn."""

    def one(numbers: float | Sequence[float]) -> NDArray[np.float32]:
        return np.array([numbers], np.float32)

    straight = Distortions(one(scale), one(shear), one(rotation), one(shift), np.zeros((1, 2, 0, 0), np.float32))
    rows = np.ascontiguousarray(picture).reshape(1, -1)
    out = np.full_like(rows, 77)
    Augmentation(AugmentationSpec(), *picture.shape).apply(rows, straight, out)
    return out.reshape(picture.shape)


def applied(spec: AugmentationSpec, pictures: Bytes, seed: int = 1) -> Bytes:
    """`pictures`, `(n, height, width)`, under distortions drawn for them."""
    n_pictures, height, width = pictures.shape
    out = np.empty((n_pictures, height * width), np.uint8)
    made = Augmentation(spec, height, width)
    made.apply(pictures.reshape(out.shape), made.draw(n_pictures, np.random.default_rng(seed)), out)
    return out.reshape(pictures.shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_spec_of_zeros_gives_the_pictures_back(shape: tuple[int, int], rng: np.random.Generator) -> None:
    pictures = noise((200, *shape), rng)
    np.testing.assert_array_equal(applied(AugmentationSpec(), pictures), pictures)


class TestShift:
    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -1), (-3, 2), (5, 5), (100, 0), (0, -100)])
    def test_whole_pixels_move_exactly(
        self, shape: tuple[int, int], down: int, right: int, rng: np.random.Generator
    ) -> None:
        picture = noise(shape, rng)
        expected = np.zeros((shape[0] + 200, shape[1] + 200), np.uint8)
        expected[100 + down :, 100 + right :][: shape[0], : shape[1]] = picture
        expected = expected[100 : 100 + shape[0], 100 : 100 + shape[1]]
        np.testing.assert_array_equal(distorted(picture, shift=(down, right)), expected)

    def test_half_a_pixel_is_the_mean_of_two(self) -> None:
        picture = np.array([[0, 100, 20, 255]], np.uint8)
        np.testing.assert_array_equal(distorted(picture, shift=(0, 0.5)), [[0, 50, 60, 138]])
        np.testing.assert_array_equal(distorted(picture, shift=(0, -0.5)), [[50, 60, 138, 128]])

    def test_a_quarter_of_a_pixel_both_ways(self) -> None:
        picture = np.zeros((3, 3), np.uint8)
        picture[1, 1] = 160
        np.testing.assert_array_equal(
            distorted(picture, shift=(0.25, 0.25)), [[0, 0, 0], [0, 160 * 9 / 16, 160 * 3 / 16], [0, 30, 10]]
        )


class TestRotation:
    @pytest.mark.parametrize("side", [1, 8, 9, 28])
    @pytest.mark.parametrize("quarters", [-2, -1, 1, 2])
    def test_quarters_of_a_turn_are_exact(self, side: int, quarters: int, rng: np.random.Generator) -> None:
        picture = noise((side, side), rng)
        np.testing.assert_array_equal(distorted(picture, rotation=90 * quarters), np.rot90(picture, quarters))

    @pytest.mark.parametrize("shape", SHAPES)
    def test_half_a_turn_of_any_picture(self, shape: tuple[int, int], rng: np.random.Generator) -> None:
        picture = noise(shape, rng)
        np.testing.assert_array_equal(distorted(picture, rotation=180), picture[::-1, ::-1])

    def test_an_eighth_leaves_the_corners_black(self) -> None:
        found = distorted(np.full((21, 21), 255, np.uint8), rotation=45)
        for corner in (found[:3, :3], found[:3, -3:], found[-3:, :3], found[-3:, -3:]):
            assert not corner.any()
        assert (found[5:-5, 5:-5] == 255).all()


class TestScale:
    def test_to_double(self, rng: np.random.Generator) -> None:
        picture = noise((9, 9), rng)
        found = distorted(picture, scale=(2, 2))
        np.testing.assert_array_equal(found[::2, ::2], picture[2:7, 2:7])
        between = picture[2:7, 2:6].astype(int) + picture[2:7, 3:7]
        np.testing.assert_array_equal(found[::2, 1::2], (between + 1) // 2)

    def test_to_half_on_a_black_ground(self, rng: np.random.Generator) -> None:
        picture = noise((9, 9), rng)
        np.testing.assert_array_equal(distorted(picture, scale=(0.5, 0.5)), np.pad(picture[::2, ::2], 2))

    def test_the_axes_are_independent(self, rng: np.random.Generator) -> None:
        picture = noise((9, 5), rng)
        np.testing.assert_array_equal(
            distorted(picture, scale=(0.5, 1)), np.pad(picture[::2], ((2, 2), (0, 0)), mode="constant")
        )
        np.testing.assert_array_equal(distorted(picture, scale=(1, 2))[:, ::2], picture[:, 1:4])


def test_a_shear_of_45_degrees_moves_each_row_by_its_height(rng: np.random.Generator) -> None:
    picture = noise((5, 11), rng)
    found = distorted(picture, shear=45)
    for row in range(5):
        right = 2 - row
        wide = np.pad(picture[row], 2)
        np.testing.assert_array_equal(found[row], wide[2 - right : 13 - right])


class TestElastic:
    SIDE = 60
    MARGIN = 12

    def displacements(self, spec: AugmentationSpec, n_pictures: int = 60) -> Reals:
        """`(n, 2, side, side)` in pixels, down and across, of the inner pixels, read off pictures of even slopes."""
        slope = 4
        across = np.tile((slope * np.arange(self.SIDE)).astype(np.uint8), (n_pictures, self.SIDE, 1))
        down = np.ascontiguousarray(across.swapaxes(1, 2))
        inner = slice(self.MARGIN, -self.MARGIN)
        found = [(applied(spec, ramp).astype(float) - ramp)[:, inner, inner] / slope for ramp in (down, across)]
        return np.stack(found, axis=1)

    @pytest.mark.parametrize(("elastic", "smoothness"), [(1.0, 4.0), (3.0, 4.0), (1.0, 1.0), (1.0, 0.5), (2.0, 100.0)])
    def test_the_displacements_are_as_long_as_asked(self, elastic: float, smoothness: float) -> None:
        moved = self.displacements(AugmentationSpec(elastic=elastic, smoothness=smoothness), n_pictures=400)
        length = math.sqrt(np.square(moved).sum(axis=1).mean())
        assert length == pytest.approx(elastic, rel=0.05 if smoothness < 100 else 0.15)
        assert abs(moved.mean()) < 0.1 * elastic
        assert np.square(moved[:, 0]).mean() == pytest.approx(np.square(moved[:, 1]).mean(), rel=0.2)

    def test_every_pixel_is_moved_as_far(self) -> None:
        moved = self.displacements(AugmentationSpec(elastic=2, smoothness=4), n_pictures=800)
        lengths = np.sqrt(np.square(moved).sum(axis=1).mean(axis=0))
        assert lengths.min() > 2 * 0.85
        assert lengths.max() < 2 * 1.15

    @pytest.mark.parametrize("smoothness", [2.0, 4.0, 6.0])
    @pytest.mark.parametrize("apart", [1, 3, 6, 12])
    def test_neighbours_go_together_as_noise_smoothed_by_a_gaussian(self, smoothness: float, apart: int) -> None:
        moved = self.displacements(AugmentationSpec(elastic=2, smoothness=smoothness), n_pictures=300)
        together = float((moved[..., apart:] * moved[..., :-apart]).mean() / np.square(moved).mean())
        assert together == pytest.approx(math.exp(-(apart**2) / (4 * smoothness**2)), abs=0.05)

    @pytest.mark.parametrize("smoothness", [5e-324, 1e-9, 0.05])
    def test_with_no_smoothness_every_pixel_goes_its_own_way(self, smoothness: float) -> None:
        moved = self.displacements(AugmentationSpec(elastic=2, smoothness=smoothness))
        assert abs((moved[..., 1:] * moved[..., :-1]).mean()) < 0.05

    def test_it_grows_with_the_spec_and_keeps_its_form(self) -> None:
        small, large = (self.displacements(AugmentationSpec(elastic=elastic)) for elastic in (1, 2))
        np.testing.assert_allclose(large, 2 * small, atol=0.4)


class Slow:
    """The same distortions pixel by pixel, from the formulas."""

    def __init__(self, spec: AugmentationSpec, height: int, width: int) -> None:
        self.spec = spec
        self.shape = height, width

    def distort(self, picture: Bytes, distortions: Distortions) -> Reals:
        """One picture, `(height, width)`, under the first of `distortions`."""
        forward = self.turned(distortions.rotation[0]) @ self.slanted(distortions.shear[0])
        inverse = np.linalg.inv(forward @ np.diag(distortions.scale[0].astype(float)))
        centre = (np.array(self.shape) - 1) / 2
        out = np.zeros(self.shape)
        for pixel in np.ndindex(*self.shape):
            place = inverse @ (pixel - centre - distortions.shift[0]) + centre
            out[pixel] = self.between(picture, place + self.displacement(pixel, distortions.noise[0]))
        return out

    def turned(self, degrees: float) -> Reals:
        angle = math.radians(degrees)
        return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])

    def slanted(self, degrees: float) -> Reals:
        return np.array([[1, 0], [-math.tan(math.radians(degrees)), 1]])

    def displacement(self, pixel: tuple[int, ...], noise: NDArray[np.float32]) -> Reals:
        down, across = (
            self.gaussians(at, side, n_knots)
            for at, side, n_knots in zip(pixel, self.shape, noise.shape[1:], strict=True)
        )
        # Noise from -1 to 1 has the variance 1/3, and the displacement has two components.
        displacement: Reals = self.spec.elastic * math.sqrt(3 / 2) * np.einsum("i,j,kij->k", down, across, noise)
        return displacement

    def gaussians(self, at: int, side: int, n_knots: int) -> Reals:
        smoothness = self.spec.smoothness
        knots = [(side - 1) / 2 + max(1.0, smoothness) * (knot - (n_knots - 1) / 2) for knot in range(n_knots)]
        weights = np.array([math.exp(-((at - knot) ** 2) / (2 * smoothness**2)) for knot in knots])
        scaled: Reals = weights / math.sqrt((weights**2).sum()) if n_knots else weights
        return scaled

    def between(self, picture: Bytes, place: Reals) -> float:
        top, left = (math.floor(at) for at in place)
        value = 0.0
        for row in (top, top + 1):
            for column in (left, left + 1):
                if 0 <= row < self.shape[0] and 0 <= column < self.shape[1]:
                    value += picture[row, column] * (1 - abs(place[0] - row)) * (1 - abs(place[1] - column))
        return value


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "numbers",
    [
        {"shift": 3},
        {"rotation": 180},
        {"scale": 0.9},
        {"shear": 60},
        {"elastic": 1.5},
        {"elastic": 1.5, "smoothness": 0.7},
        {"elastic": 100, "smoothness": 30},
        {"shift": 2, "rotation": 12, "scale": 0.12, "shear": 10, "elastic": 1.5},
        {"shift": 100, "rotation": 180, "scale": 0.9, "shear": 60, "elastic": 100},
    ],
    ids=str,
)
def test_against_the_slow_way(numbers: dict[str, Any], shape: tuple[int, int], rng: np.random.Generator) -> None:
    spec = AugmentationSpec(**numbers)
    pictures = noise((4, *shape), rng)
    made, slow = Augmentation(spec, *shape), Slow(spec, *shape)
    distortions = made.draw(4, rng)
    found = np.empty((4, shape[0] * shape[1]), np.uint8)
    made.apply(pictures.reshape(found.shape), distortions, found)
    expected = [slow.distort(picture, distortions[i : i + 1]) for i, picture in enumerate(pictures)]
    # Half a grey level for the rounding, and 1/512 of up to 255 for that of the place, down and across.
    np.testing.assert_allclose(found.reshape(pictures.shape), expected, atol=1.6)


class TestDraw:
    def test_the_same_generator_gives_the_same_pictures(self, rng: np.random.Generator) -> None:
        pictures = noise((10, 28, 28), rng)
        np.testing.assert_array_equal(applied(ALL, pictures, seed=5), applied(ALL, pictures, seed=5))
        assert (applied(ALL, pictures, seed=5) != applied(ALL, pictures, seed=6)).any()

    def test_no_two_pictures_are_distorted_alike(self, rng: np.random.Generator) -> None:
        found = applied(ALL, np.repeat(noise((1, 28, 28), rng), 50, axis=0))
        assert len(np.unique(found.reshape(50, -1), axis=0)) == 50

    def test_bounds_are_kept_and_reached(self, rng: np.random.Generator) -> None:
        drawn = Augmentation(ALL, 28, 28).draw(5_000, rng)
        for numbers, centre, most in (
            (drawn.scale, 1, ALL.scale),
            (drawn.shear, 0, ALL.shear),
            (drawn.rotation, 0, ALL.rotation),
            (drawn.shift, 0, ALL.shift),
            (drawn.noise, 0, 1),
        ):
            off = numbers.astype(float) - centre
            assert np.abs(off).max() <= most * (1 + 1e-6)
            assert off.max() > 0.99 * most
            assert off.min() < -0.99 * most
            assert abs(off.mean()) < 0.05 * most

    def test_each_number_is_drawn_on_its_own(self, rng: np.random.Generator) -> None:
        drawn = Augmentation(ALL, 28, 28).draw(5_000, rng)
        columns = np.column_stack([drawn.scale, drawn.shear, drawn.rotation, drawn.shift, drawn.noise[:, :, 0, 0]])
        np.testing.assert_allclose(np.corrcoef(columns.T), np.eye(8), atol=0.06)

    def test_all_is_float32_and_as_long_as_asked(self, rng: np.random.Generator) -> None:
        for spec in (ALL, AugmentationSpec()):
            drawn = Augmentation(spec, 28, 20).draw(7, rng)
            assert len(drawn) == 7
            for numbers in vars(drawn).values():
                assert numbers.dtype == np.float32
                assert len(numbers) == 7

    def test_how_strong_a_distortion_is_leaves_the_others_as_they_are(self) -> None:
        weaker = AugmentationSpec(shift=1, rotation=12, shear=0, scale=0.06, elastic=0.1, smoothness=4)
        one, other = (Augmentation(spec, 28, 28).draw(20, np.random.default_rng(1)) for spec in (ALL, weaker))
        np.testing.assert_array_equal(one.rotation, other.rotation)
        np.testing.assert_array_equal(one.noise, other.noise)
        np.testing.assert_allclose(one.shift, 2 * other.shift)
        assert not other.shear.any()

    def test_none_for_no_pictures(self, rng: np.random.Generator) -> None:
        made = Augmentation(ALL, 28, 28)
        nothing = np.empty((0, 784), np.uint8)
        made.apply(nothing, made.draw(0, rng), nothing)


class TestApply:
    @pytest.fixture
    def pictures(self, rng: np.random.Generator) -> Bytes:
        return noise((100, 28 * 20), rng)

    @pytest.fixture
    def made(self) -> Augmentation:
        return Augmentation(ALL, 28, 20)

    @pytest.fixture
    def drawn(self, made: Augmentation, rng: np.random.Generator) -> Distortions:
        return made.draw(100, rng)

    @pytest.fixture
    def whole(self, made: Augmentation, pictures: Bytes, drawn: Distortions) -> Bytes:
        out = np.empty_like(pictures)
        made.apply(pictures, drawn, out)
        return out

    @pytest.mark.parametrize("size", [1, 7, 99])
    def test_slices_of_a_batch_equal_the_batch(
        self, size: int, made: Augmentation, pictures: Bytes, drawn: Distortions, whole: Bytes
    ) -> None:
        out = np.empty_like(pictures)
        for start in range(0, 100, size):
            part = slice(start, start + size)
            made.apply(pictures[part], drawn[part], out[part])
        np.testing.assert_array_equal(out, whole)

    def test_slices_in_threads_equal_the_batch(
        self, made: Augmentation, pictures: Bytes, drawn: Distortions, whole: Bytes
    ) -> None:
        out = np.empty_like(pictures)
        parts = [slice(start, start + 5) for start in range(0, 100, 5)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda part: made.apply(pictures[part], drawn[part], out[part]), parts))
        np.testing.assert_array_equal(out, whole)

    @pytest.mark.parametrize("block", [1, 28 * 20, 10_000])
    def test_the_size_of_the_blocks_does_not_show(
        self,
        block: int,
        made: Augmentation,
        pictures: Bytes,
        drawn: Distortions,
        whole: Bytes,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(augmentation, "BLOCK", block)
        out = np.empty_like(pictures)
        made.apply(pictures, drawn, out)
        np.testing.assert_array_equal(out, whole)

    def test_in_place(self, made: Augmentation, pictures: Bytes, drawn: Distortions, whole: Bytes) -> None:
        made.apply(pictures, drawn, pictures)
        np.testing.assert_array_equal(pictures, whole)

    def test_pictures_are_left_as_they_were(
        self, made: Augmentation, pictures: Bytes, drawn: Distortions, rng: np.random.Generator
    ) -> None:
        before, drawn_before = pictures.copy(), {name: numbers.copy() for name, numbers in vars(drawn).items()}
        made.apply(pictures, drawn, np.empty_like(pictures))
        np.testing.assert_array_equal(pictures, before)
        for name, numbers in drawn_before.items():
            np.testing.assert_array_equal(getattr(drawn, name), numbers)

    def test_white_stays_white_within_and_nothing_shines_in_from_neighbours(self, rng: np.random.Generator) -> None:
        """White pictures stand between black ones, which must stay black."""
        pictures = np.zeros((60, 28, 28), np.uint8)
        pictures[::2] = 255
        found = applied(ALL, pictures)
        assert not found[1::2].any()
        assert (found[::2, 11:17, 11:17] == 255).all()
        assert (found[::2] == 0).any(axis=(1, 2)).mean() > 0.9

    def test_the_largest_numbers_of_all_are_no_trouble(self, rng: np.random.Generator) -> None:
        spec = AugmentationSpec(shift=100, rotation=180, scale=0.9, shear=60, elastic=100, smoothness=0.2)
        found = applied(spec, noise((50, 5, 300), rng))
        assert found.dtype == np.uint8
        assert found.shape == (50, 5, 300)
        assert found.any()
