from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import InputError, Network, NetworkSpec, Samples, fit
from nn.datasets import Table
from nn.features import PixelFeatures
from nn.images import is_mnist, resize, to_mnist
from nn.losses import LOSSES
from tests.nn.support import layers, training

Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]

BLACK, WHITE, RED, BLUE, GREEN, YELLOW = (0, 0, 0), (255,) * 3, (255, 0, 0), (0, 0, 255), (0, 128, 0), (255, 255, 0)


@pytest.fixture(scope="session")
def digits(mnist: Table) -> Bytes:
    """300 test pictures, `(300, 28, 28)`."""
    pictures: Bytes = mnist.inputs[60_000:60_300].reshape(-1, 28, 28)
    return pictures


@pytest.fixture
def seven(digits: Bytes) -> Bytes:
    """The first test picture; its box is 20 high, so that nothing need be scaled."""
    picture: Bytes = digits[0]
    return picture


def painted(ink: Bytes, stroke: Colour, ground: Colour) -> Bytes:
    """RGB: `stroke` where `ink` is 255, `ground` where it is 0."""
    share = ink[:, :, np.newaxis] / 255
    return np.rint(np.array(stroke) * share + np.array(ground) * (1 - share)).astype(np.uint8)


def enlarged(picture: Bytes, times: int) -> Bytes:
    return np.repeat(np.repeat(picture, times, axis=0), times, axis=1)


def assert_close(found: Bytes, expected: Bytes, tolerance: float = 3) -> None:
    """The same digit at the same place: a mean difference of few grey levels."""
    assert found.shape == expected.shape == (28, 28)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(float) - expected).mean() < tolerance


def box(picture: Bytes) -> tuple[int, int]:
    rows, columns = np.flatnonzero(picture.any(axis=1)), np.flatnonzero(picture.any(axis=0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def centre_of_mass(picture: Bytes) -> tuple[float, float]:
    rows, columns = np.indices(picture.shape)
    return float(np.average(rows, weights=picture)), float(np.average(columns, weights=picture))


class TestAlreadySo:
    def test_mnist_s_own_pictures_are(self, mnist: Table) -> None:
        assert all(is_mnist(picture) for picture in mnist.inputs[::4].reshape(-1, 28, 28))

    def test_they_come_back_unchanged(self, digits: Bytes) -> None:
        for digit in digits:
            np.testing.assert_array_equal(to_mnist(digit), digit)

    @pytest.mark.parametrize("n_channels", [1, 3, 4])
    def test_also_with_channels(self, n_channels: int, seven: Bytes) -> None:
        picture = np.repeat(seven[:, :, np.newaxis], n_channels, axis=2)
        picture[:, :, 3:] = 255
        np.testing.assert_array_equal(to_mnist(picture), seven)

    def test_what_comes_back_is_a_copy(self, seven: Bytes) -> None:
        assert not np.shares_memory(to_mnist(seven), seven)

    def test_another_polarity_place_size_or_colour_is_not_so(self, seven: Bytes) -> None:
        others = {
            "dark on light": 255 - seven,
            "off its place": np.roll(seven, 4, axis=1),
            "too small": np.pad(seven[::2, ::2], 7),
            "too large a field": np.pad(seven, 1),
            "red": painted(seven, RED, BLACK),
            "transparent": np.dstack([seven] * 4),
            "empty": np.zeros_like(seven),
        }
        assert [name for name, picture in others.items() if is_mnist(picture)] == []


def test_inverted_mnist_pictures_come_back(digits: Bytes) -> None:
    differences = [np.abs(to_mnist(255 - digit).astype(float) - digit).mean() for digit in digits]
    # Where the centre of mass lies halfway between two pixels, either is right: a digit may be one pixel off.
    assert np.mean(np.array(differences) < 3) > 0.98


@pytest.mark.parametrize(
    ("stroke", "ground"),
    [(BLACK, WHITE), (WHITE, BLACK), (RED, BLUE), (BLUE, RED), (RED, GREEN), (YELLOW, WHITE), ((90,) * 3, (140,) * 3)],
)
def test_any_colour_on_any_other(stroke: Colour, ground: Colour, seven: Bytes) -> None:
    assert_close(to_mnist(painted(seven, stroke, ground)), seven)


class TestTransparency:
    @pytest.mark.parametrize("colour", [BLACK, WHITE, RED, (127, 127, 127), (128, 128, 128)])
    def test_strokes_on_a_transparent_ground(self, colour: Colour, seven: Bytes) -> None:
        picture = np.dstack([painted(np.full_like(seven, 255), colour, colour), seven])
        assert_close(to_mnist(picture), seven)

    def test_strokes_that_are_nowhere_opaque(self, seven: Bytes) -> None:
        assert_close(to_mnist(np.dstack([np.zeros((28, 28, 3), np.uint8), seven // 3])), seven)

    @pytest.mark.parametrize(("stroke", "ground"), [(BLACK, WHITE), (WHITE, BLACK), (RED, BLUE)])
    @pytest.mark.parametrize("margin", [0, 9])
    def test_an_opaque_card_with_a_transparent_margin(
        self, stroke: Colour, ground: Colour, margin: int, seven: Bytes
    ) -> None:
        card = np.dstack([painted(seven, stroke, ground), np.full_like(seven, 255)])
        picture = np.pad(card, ((margin, margin), (margin, margin), (0, 0)))
        assert_close(to_mnist(picture), seven)

    def test_colour_below_full_transparency_does_not_show(self, seven: Bytes, rng: np.random.Generator) -> None:
        noise = rng.integers(0, 256, (28, 28, 3), np.uint8)
        rgb = np.where(seven[:, :, np.newaxis] > 0, 0, noise).astype(np.uint8)
        assert_close(to_mnist(np.dstack([rgb, seven])), seven)


class TestPlaceAndSize:
    def test_the_box_comes_to_20_by_20_with_its_proportions(self) -> None:
        for height, width, expected in ((40, 40, (20, 20)), (60, 30, (20, 10)), (8, 100, (2, 20)), (5, 1, (20, 4))):
            picture = np.pad(np.full((height, width), 255, np.uint8), 50)
            assert box(to_mnist(picture)) == expected

    def test_the_centre_of_mass_comes_to_the_centre(self, digits: Bytes) -> None:
        for digit in digits[:50]:
            found = to_mnist(np.pad(255 - digit, ((0, 30), (45, 0)), constant_values=255))
            np.testing.assert_allclose(centre_of_mass(found), 14, atol=0.51)

    def test_nothing_is_lost_where_the_centre_of_mass_is_far_off(self) -> None:
        """A pole on a heavy foot, whose centre of mass would push its top out of the field, whichever way up."""
        pole = np.zeros((100, 100), np.uint8)
        pole[:, 45:55] = pole[85:, :] = 255
        for turns in range(4):
            assert box(to_mnist(np.pad(np.rot90(pole, turns), 20))) == (20, 20)

    def test_off_centre_is_no_matter(self, seven: Bytes) -> None:
        for top, left in ((0, 0), (0, 200), (100, 3)):
            picture = np.zeros((150, 240), np.uint8)
            picture[top : top + 28, left : left + 28] = seven
            assert_close(to_mnist(picture), seven)

    @pytest.mark.parametrize("times", [2, 3, 10, 50])
    def test_enlarged_pictures_come_back(self, times: int, seven: Bytes) -> None:
        assert_close(to_mnist(enlarged(seven, times)), seven, tolerance=8)

    @pytest.mark.parametrize("shape", [(1, 2), (2, 2), (1, 3000), (3000, 1), (13, 17), (28, 28), (300, 200)])
    @pytest.mark.parametrize("channels", [(), (3,), (4,)], ids=["grey", "RGB", "RGBA"])
    def test_any_size(self, shape: tuple[int, int], channels: tuple[int, ...]) -> None:
        found = to_mnist(self.with_a_stroke(*shape, *channels))
        assert found.shape == (28, 28)
        assert found.max() == 255
        assert max(box(found)) == 20

    def test_a_picture_of_a_camera_s_size_takes_a_few_times_its_own_bytes(self) -> None:
        picture = self.with_a_stroke(2000, 3000, 4)
        tracemalloc.start()
        try:
            assert box(to_mnist(picture))[0] == 20
            assert tracemalloc.get_traced_memory()[1] < 6 * picture.nbytes
        finally:
            tracemalloc.stop()

    def with_a_stroke(self, height: int, width: int, *channels: int) -> Bytes:
        """Black on white, opaque; taller than it is wide."""
        picture = np.full((height, width, *channels), 255, np.uint8)
        stroke = picture[height // 3 : height // 2 + 1, width // 2 : width // 2 + 1 + width // 20]
        (stroke[:, :, :3] if channels else stroke)[...] = 0
        return picture

    def test_faint_marks_do_not_stretch_the_box(self, seven: Bytes) -> None:
        picture = np.pad(seven, 30)
        picture[2, 2] = 20
        assert_close(to_mnist(picture), seven)

    def test_faint_strokes_come_out_bright(self, seven: Bytes) -> None:
        assert_close(to_mnist(np.pad(seven // 5, 1)), seven)


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (28, 28, 3), (28, 28, 4), (5, 300, 4)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_colour_is_refused(shape: tuple[int, ...], level: int) -> None:
    with pytest.raises(InputError, match="expected a picture of a digit that stands out from its ground"):
        to_mnist(np.full(shape, level, np.uint8))


def test_compression_s_noise_alone_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="even colour"):
        to_mnist(rng.integers(120, 130, (40, 40), np.uint8))


def photographed(pictures: Bytes, rng: np.random.Generator) -> dict[str, list[Bytes]]:
    """Digits on paper under what happens to photographs and scans, by name."""
    papers = [
        painted(np.pad(enlarged(digit, 3), 30), (60,) * 3, (230,) * 3)[:, :, 0].astype(float) for digit in pictures
    ]
    side = np.linspace(-1, 1, len(papers[0]))
    fallen_off = 50 * (side[:, np.newaxis] ** 2 + side**2) / 2

    def framed(paper: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.pad(paper[3:-3, 3:-3], 3, constant_values=40)

    def specked(paper: NDArray[np.float64]) -> NDArray[np.float64]:
        rows, columns = rng.integers(0, len(paper), (2, 12))
        marked = paper.copy()
        marked[rows, columns] = 60
        return marked

    effects: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
        "sensor noise": lambda paper: paper + rng.normal(0, 8, paper.shape),
        "light from one side": lambda paper: paper - 25 * side,
        "light that falls off": lambda paper: paper - fallen_off,
        "a thin frame": framed,
        "specks": specked,
        "little contrast": lambda paper: 150 + paper / 8,
    }
    return {
        name: [np.clip(np.rint(effect(paper)), 0, 255).astype(np.uint8) for paper in papers]
        for name, effect in effects.items()
    }


@pytest.mark.parametrize(
    "effect",
    ["sensor noise", "light from one side", "light that falls off", "a thin frame", "specks", "little contrast"],
)
def test_what_happens_to_photographs_and_scans(effect: str, digits: Bytes, rng: np.random.Generator) -> None:
    pictures = photographed(digits[:60], rng)[effect]
    off = [
        np.abs(to_mnist(picture).astype(float) - digit).mean() for picture, digit in zip(pictures, digits, strict=False)
    ]
    # One that is misread, with a box or a ground of its own, differs by 30 and more.
    assert np.mean(np.array(off) < 15) > 0.9


class TestResize:
    def test_an_even_picture_stays_even(self) -> None:
        for shape in ((1, 1), (7, 3), (100, 40)):
            np.testing.assert_allclose(resize(np.full((20, 10), 5.0), *shape), np.full(shape, 5.0))

    def test_the_same_size_is_the_same_picture(self, rng: np.random.Generator) -> None:
        picture = rng.random((9, 6))
        np.testing.assert_allclose(resize(picture, 9, 6), picture)

    def test_nothing_is_lost_between_the_pixels_of_a_smaller_one(self) -> None:
        """A thin line in a large picture must show wherever it lies."""
        for column in range(200):
            picture = np.zeros((10, 200))
            picture[:, column] = 1
            assert resize(picture, 2, 10).max() > 0.01


def test_a_trained_network_reads_transformed_digits_as_well(mnist: Table, digits: Bytes) -> None:
    features = PixelFeatures(height=28, width=28, offset=-0.5)
    spec = training(0.2, loss="cross_entropy", epochs=4, batch_size=128)
    rng = np.random.default_rng(1)
    network = Network(NetworkSpec(layers=layers(64, "relu", 10)), (784,), LOSSES[spec.loss].output, rng)
    fit(network, Samples(mnist.inputs, mnist.targets, np.arange(6_000), features), spec, rng)

    def accuracy(pictures: list[Bytes]) -> float:
        x = np.empty((len(pictures), 784), np.float32)
        features.encode(np.array(pictures).reshape(-1, 784), x)
        return float(np.mean(network.predict(x).argmax(axis=1) == mnist.targets[60_000:60_300]))

    original = accuracy(list(digits))
    assert original > 0.85
    transformed: dict[str, list[Bytes]] = {
        "enlarged": [enlarged(digit, 5) for digit in digits],
        "inverted": [255 - digit for digit in digits],
        "shifted": [np.pad(digit, ((0, 20), (33, 2))) for digit in digits],
        "on paper": [painted(np.pad(enlarged(digit, 3), 40), (40, 40, 120), (240, 235, 220)) for digit in digits],
    }
    for name, pictures in transformed.items():
        assert accuracy([to_mnist(picture) for picture in pictures]) > original - 0.02, name
    halved = [np.rint(resize(digit.astype(float), 14, 14)).astype(np.uint8) for digit in digits]
    assert accuracy([to_mnist(picture) for picture in halved]) > original - 0.1  # half the detail is gone
    assert accuracy([255 - digit for digit in digits]) < 0.5  # without `to_mnist` they are misread
