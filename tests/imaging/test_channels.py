"""Channel correlations: planted truth, oracles, calibration, errors."""

import numpy as np
import pytest
from scipy import ndimage, stats
from sklearn.linear_model import LinearRegression

from skdict.datasets import make_cell_fields
from skdict.imaging import (
    channel_correlations,
    pool_channels,
    token_heatmaps,
)
from skdict.imaging._spatial_null import StainDraws


def smooth(rng, n_images, n_maps, size=32):
    """Smooth random fields, shape (n_images, n_maps, size, size)."""
    width = rng.uniform(1, 3, n_maps)
    fields = np.empty((n_images, n_maps, size, size), np.float32)
    for m in range(n_maps):
        wide = rng.standard_normal((n_images, size + 24, size + 24))
        fields[:, m] = ndimage.gaussian_filter(wide, (0, width[m], width[m]))[:, 12:-12, 12:-12]
    return fields / fields.std(axis=(2, 3), keepdims=True)


def as_tokens(maps):
    """Tokens whose coordinates are the maps: heatmaps of the identity with inner products."""
    return np.moveaxis(maps, 1, -1)


@pytest.fixture(scope="module")
def found(fields, stains):
    return channel_correlations(
        fields.tokens, fields.directions, stains, channels=fields.channels, units=fields.well,
        random_state=0,
    )  # fmt: skip


class TestPlantedTruth:
    def test_right_channel_and_sign(self, fields, found):
        for row, channel in enumerate(fields.channels):
            assert found.channels[np.abs(found.r[row, :5]).argmax()] == channel
            assert found.channels[np.abs(found.partial[row, :5]).argmax()] == channel
            assert found.r[row, row] > 0.6 and found.q_value[row, row] < 0.01
            assert found.low[row, row] > 0.5

    def test_turned_direction_turns_the_sign(self, fields, stains):
        turned = channel_correlations(
            fields.tokens, -fields.directions[:5], stains, n_permutations=9, random_state=0
        )
        assert (np.diag(turned.r[:, :5]) < -0.6).all()

    def test_calls(self, fields, found):
        calls = found.calls()
        called = dict(zip(fields.names, zip(calls.call, calls.channel, strict=True), strict=True))
        for channel in fields.channels:
            assert called[channel] == ("specific", channel)
        assert called["no cell"][0] == "inverse"
        assert called["light leak"] == ("light leak", "light leak")
        assert called["edge"] == ("edge", "edge")
        assert called["perturbed"][0] == "several"
        assert set(calls.call[fields.names == "null"]) == {"none"}
        assert np.isnan(calls.r[fields.names == "null"]).all()

    def test_position_share(self, fields, found):
        edge = fields.names.tolist().index("edge")
        assert found.position_share[edge] > 0.6
        assert np.abs(np.delete(found.position_share, edge)).max() < 0.1

    def test_what_is_nothing_but_position_is_unknown_once_the_mean_is_off(self, fields, stains):
        centred = channel_correlations(
            fields.tokens, fields.directions, stains, center_positions=True, n_permutations=1,
            random_state=0,
        )  # fmt: skip
        assert np.isnan(centred.position_share).all()
        edge = centred.position("edge")
        assert np.isnan(centred.r[:, edge]).all() and np.isnan(centred.q_value[:, edge]).all()
        assert (centred.n_images[:, edge] == 0).all()


class TestOracles:
    @pytest.mark.parametrize("n_features", [6, 40])  # far fewer features than tokens, and more
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_r_is_pearsons(self, rng, n_features, dtype):
        tokens = rng.normal(size=(3, 5, 5, n_features)).astype(dtype)
        directions = rng.normal(size=(4, n_features)).astype(dtype)
        stains = rng.normal(size=(3, 2, 5, 5)).astype(dtype)
        found = channel_correlations(
            tokens, directions, stains, artefacts=False, n_permutations=3, random_state=0
        )
        heatmaps = token_heatmaps(tokens, directions)
        for i, m, c in np.ndindex(3, 4, 2):
            r = stats.pearsonr(heatmaps[i, m].ravel(), stains[i, c].ravel()).statistic
            assert found.image_r[i, m, c] == pytest.approx(r, abs=1e-5)
        np.testing.assert_allclose(found.r, found.image_r.mean(axis=0), atol=1e-6)

    def test_partial_is_that_of_residuals(self, rng):
        stains = rng.normal(size=(1, 3, 6, 6))
        stains[:, 1] += stains[:, 0]
        tokens = rng.normal(size=(1, 6, 6, 2)) + as_tokens(stains[:, :2])
        found = channel_correlations(
            tokens, np.eye(2), stains, kind="inner", artefacts=False, n_permutations=1,
            random_state=0,
        )  # fmt: skip
        fields = stains[0].reshape(3, -1)
        for m, c in np.ndindex(2, 3):
            others = np.delete(fields, c, axis=0).T
            left = [
                value - LinearRegression().fit(others, value).predict(others)
                for value in (tokens[0, ..., m].ravel(), fields[c])
            ]
            expected = np.corrcoef(*left)[0, 1]
            assert found.partial[m, c] == pytest.approx(expected, abs=1e-6)

    def test_interval_is_students_over_units(self, rng):
        tokens, stains = rng.normal(size=(6, 4, 4, 2)), rng.normal(size=(6, 1, 4, 4))
        units = np.array([0, 0, 0, 1, 1, 2])
        found = channel_correlations(
            tokens, np.eye(2), stains, units=units, artefacts=False, n_permutations=1,
            confidence_level=0.9, random_state=0,
        )  # fmt: skip
        for m in range(2):
            r = found.image_r[:, m, 0].astype(float)
            means = [r[units == unit].mean() for unit in range(3)]
            low, high = stats.t.interval(0.9, 2, np.mean(means), stats.sem(means))
            assert found.r[m, 0] == pytest.approx(np.mean(means), abs=1e-6)
            assert found.low[m, 0] == pytest.approx(low, abs=1e-5)
            assert found.high[m, 0] == pytest.approx(high, abs=1e-5)
        assert (found.n_units == 3).all() and (found.n_images == 6).all()

    def test_p_values_count_draws(self, rng):
        """Everything again, draw by draw and pair by pair."""
        n_images, n_features, n_draws = 3, 4, 19
        tokens, stains = rng.normal(size=(n_images, 5, 4, n_features)), smooth(rng, n_images, 2, 6)
        stains = stains[:, :, :5, :4].astype(float)
        tokens[..., 1] += 3 * stains[:, 0]
        found = channel_correlations(
            tokens, np.eye(n_features), stains, kind="inner", artefacts=False,
            n_permutations=n_draws, random_state=0,
        )  # fmt: skip
        draws = StainDraws(stains, 2, "shift", n_draws, None, np.random.RandomState(0))
        r = np.empty((n_images, 1 + n_draws, n_features, 2))
        for i, b, m, c in np.ndindex(*r.shape):
            field = stains[i, c].ravel() if b == 0 else draws[i][b - 1, c]
            r[i, b, m, c] = np.corrcoef(tokens[i, ..., m].ravel(), field)[0, 1]
        effect = r.mean(axis=0)
        spread = np.sqrt(r.var(axis=1).sum(axis=0)) / n_images
        z = (effect - effect.mean(axis=0)) / spread
        np.testing.assert_allclose(found.null_mean, effect.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(found.null_spread, spread, atol=1e-6)
        np.testing.assert_allclose(found.z, z[0], atol=1e-4)
        size = np.abs(z) + 1e-9 * (np.arange(1 + n_draws) > 0)[:, None, None]
        pooled = np.empty((n_features, 2))
        for m, c in np.ndindex(n_features, 2):
            reached = np.count_nonzero(size[:, m, c] >= np.abs(z[0, m, c]))
            assert found.p_value[m, c] == pytest.approx(reached / (1 + n_draws))
            largest = size[1:].max(axis=(1, 2))
            family = 1 + np.count_nonzero(largest >= np.abs(z[0, m, c]))
            assert found.family_wise_p_value[m, c] == pytest.approx(family / (1 + n_draws))
            pool = size[1:, :, c]
            pooled[m, c] = (1 + (pool >= np.abs(z[0, m, c])).sum()) / (1 + pool.size)
        q_value = stats.false_discovery_control(pooled, axis=None)
        np.testing.assert_allclose(found.q_value, q_value.reshape(pooled.shape))
        assert found.family_wise_p_value[1, 0] == found.smallest_p_value == 1 / 20

    def test_draws_of_the_shift_are_windows_of_the_mirrored_field(self, rng):
        stains = rng.normal(size=(1, 2, 4, 5))
        draws = StainDraws(stains, 2, "shift", 200, None, np.random.RandomState(0))
        mirrored = np.concatenate([stains[0], stains[0][:, ::-1]], axis=1)
        mirrored = np.concatenate([mirrored, mirrored[:, :, ::-1]], axis=2)
        windows = [
            np.roll(mirrored, (-y, -x), (1, 2))[:, :4, :5].reshape(2, -1)
            for y in range(8) for x in range(10)
        ]  # fmt: skip
        windows = np.stack(windows)
        windows -= windows.mean(axis=-1, keepdims=True)
        windows /= np.linalg.norm(windows, axis=-1, keepdims=True)
        for draw in draws[0]:
            assert np.isclose(windows, draw).all(axis=(1, 2)).any()

    def test_swap_stays_within_strata(self, rng):
        stains = rng.normal(size=(6, 1, 3, 3))
        strata = np.array(["a", "b", "a", "b", "a", "b"])
        draws = StainDraws(stains, 1, "swap", 50, strata, np.random.RandomState(0))
        assert (strata[draws.partner] == strata).all()
        assert (np.sort(draws.partner, axis=1) == np.arange(6)).all()
        assert draws.smallest_p_value == pytest.approx(1 / 36)


@pytest.fixture(scope="module")
def runs(fields, stains):
    """Correlations of 1,000 features that are tied to nothing, three times."""
    results = []
    for seed in range(3):
        maps = smooth(np.random.default_rng(seed), 12, 1000)
        found = channel_correlations(
            as_tokens(maps), np.eye(1000, dtype=np.float32), stains, kind="inner",
            units=fields.well, n_permutations=49, random_state=seed,
        )  # fmt: skip
        results.append(found)
    return results


class TestCalibration:
    """1,000 features that are tied to nothing, against the stains of planted cells."""

    def test_false_discoveries_within_the_bound(self, runs):
        # Everything found is false: the rate is the chance of finding anything.
        assert sum((run.q_value <= 0.05).any() for run in runs) <= 1
        assert sum((run.q_value <= 0.05).sum() for run in runs) <= 3

    def test_p_values_are_those_of_chance(self, runs):
        stains = np.concatenate([run.p_value[:, :5] for run in runs])
        assert 0.035 < (stains <= 0.05).mean() < 0.06
        assert 0.45 < (stains <= 0.5).mean() < 0.55
        z = np.concatenate([run.z[:, :5] for run in runs])
        assert 0.93 < z.std() < 1.07

    def test_the_textbook_p_value_would_fail(self, runs):
        """Tokens are not independent: what Pearson's own test says of one image."""
        r = np.abs(runs[0].image_r[0, :, :5].astype(float))
        p_value = 2 * stats.t.sf(r * np.sqrt(1022 / (1 - r**2)), 1022)
        assert (p_value <= 0.05).mean() > 0.4

    def test_intervals_hold_their_level(self, runs):
        outside = [(run.low[:, :5] > 0) | (run.high[:, :5] < 0) for run in runs]
        assert 0.02 < np.mean(outside) < 0.09

    def test_share_of_false_discoveries_among_true_ones(self, fields, stains):
        rng = np.random.default_rng(9)
        maps = smooth(rng, 12, 1000)
        for m in range(60):  # weak ties to a channel
            own = stains[:, m % 5] - stains[:, m % 5].mean(axis=(1, 2), keepdims=True)
            maps[:, m] += 0.35 * own / own.std(axis=(1, 2), keepdims=True)
        found = channel_correlations(
            as_tokens(maps), np.eye(1000), stains, kind="inner", units=fields.well,
            artefacts=False, random_state=0,
        )  # fmt: skip
        pairs = found.pairs(0.05)
        power = np.mean(np.isin(np.arange(60), pairs.feature))
        assert power > 0.9
        assert np.mean(pairs.feature >= 60) <= 0.07

    @pytest.mark.parametrize("n_images", [2, 4])
    def test_centred_positions_hold_their_level_on_few_images(self, n_images):
        """A mean that is taken off ties images to each other, and the draws have to be tied too."""
        p_values, z, outside = [], [], []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            found = channel_correlations(
                as_tokens(smooth(rng, n_images, 150, 24)), np.eye(150, dtype=np.float32),
                smooth(rng, n_images, 1, 24), kind="inner", center_positions=True,
                artefacts=False, random_state=seed,
            )  # fmt: skip
            p_values.append(found.p_value)
            z.append(found.z)
            outside.append((found.low > 0) | (found.high < 0))
        assert 0.03 < (np.concatenate(p_values) <= 0.05).mean() < 0.075
        assert 0.93 < np.concatenate(z).std() < 1.08
        if n_images == 2:  # what is left of two images is the same up to its sign
            assert np.isnan(found.low).all() and np.isnan(found.high).all()
        else:
            assert 0.03 < np.mean(outside) < 0.07

    def test_swap_keeps_what_lies_in_one_place_of_all_images(self, rng):
        """Vignetting in the stain, a fixed pattern in the tokens: related, but not by the image."""
        y, x = np.mgrid[-1:1:16j, -1:1:16j]
        middle = np.exp(-2 * (y**2 + x**2))
        stains = (smooth(rng, 60, 1, 16) + 2 * middle).astype(np.float32)
        maps = smooth(rng, 60, 40, 16)
        maps[:, :20] += 2 * middle
        options = dict(kind="inner", artefacts=False, random_state=0)
        found = {
            "shift": channel_correlations(as_tokens(maps), np.eye(40), stains, **options),
            "swap": channel_correlations(
                as_tokens(maps), np.eye(40), stains, null="swap", **options
            ),
            "centred": channel_correlations(
                as_tokens(maps), np.eye(40), stains, center_positions=True, **options
            ),
        }
        n_found = {name: (run.q_value[:20] <= 0.05).sum() for name, run in found.items()}
        assert n_found["shift"] == 20
        assert n_found["swap"] <= 2 and n_found["centred"] <= 2
        share = found["shift"].position_share
        assert share[:20].min() > 0.1 > 2 * np.abs(share[20:]).max()


class TestWhatCounts:
    def test_chosen_images_do_not_test(self, rng):
        tokens, stains = rng.normal(size=(5, 6, 6, 3)), rng.normal(size=(5, 2, 6, 6))
        chosen = np.array([True, False, False, True, False])
        options = dict(artefacts=False, n_permutations=5, random_state=0)
        found = channel_correlations(tokens, np.eye(3), stains, chosen=chosen, **options)
        np.testing.assert_allclose(found.r, found.image_r[~chosen].mean(axis=0), atol=1e-6)
        assert (found.n_images == 3).all() and np.isfinite(found.image_r[chosen]).all()
        # and what they hold changes nothing
        tokens[chosen] += stains[chosen, :1].swapaxes(1, 3).swapaxes(1, 2)
        again = channel_correlations(tokens, np.eye(3), stains, chosen=chosen, **options)
        np.testing.assert_allclose(again.r, found.r, atol=1e-6)
        np.testing.assert_allclose(again.p_value, found.p_value)
        np.testing.assert_allclose(again.low, found.low, atol=1e-6)

    def test_chosen_images_call_no_artefact(self, rng):
        """Of a leak that the other images show, images that chose the feature say nothing."""
        y, x = np.mgrid[0:1:12j, 0:1:12j]
        stains = rng.normal(size=(9, 1, 12, 12)) + 6 * (x**2 + y)
        tokens = as_tokens(stains).copy()
        tokens[6:] = as_tokens(rng.normal(size=(3, 1, 12, 12)) + 6 * (x**2 + y))
        chosen = np.arange(9) < 6
        found = channel_correlations(
            tokens, np.eye(1), stains, kind="inner", chosen=chosen, random_state=0
        )
        leak = found.position("light leak")
        assert found.r[0, leak] > found.r[0, 0] == pytest.approx(found.r_with_artefact[0, 0, 0])
        assert found.image_r[:, 0, 0].mean() > found.r[0, leak]  # chosen images would win
        assert found.calls().call.tolist() == ["light leak"]

    def test_chosen_by_feature(self, rng):
        tokens, stains = rng.normal(size=(4, 6, 6, 3)), rng.normal(size=(4, 2, 6, 6))
        chosen = np.zeros((4, 3), bool)
        chosen[0, 0] = chosen[2, 1] = True
        found = channel_correlations(
            tokens, np.eye(3), stains, chosen=chosen, artefacts=False, n_permutations=5,
            random_state=0,
        )  # fmt: skip
        for m in range(3):
            expected = found.image_r[~chosen[:, m], m].mean(axis=0)
            np.testing.assert_allclose(found.r[m], expected, atol=1e-6)
        assert found.n_images[:, 0].tolist() == [3, 3, 4]

    def test_images_without_a_stain_are_left_out(self, rng):
        tokens, stains = rng.normal(size=(4, 6, 6, 3)), rng.normal(size=(4, 2, 6, 6))
        stains[1, 0] = 7.0
        found = channel_correlations(
            tokens, np.eye(3), stains, artefacts=False, n_permutations=5, random_state=0
        )
        assert np.isnan(found.image_r[1, :, 0]).all()
        assert found.n_images[0].tolist() == [3, 4]
        expected = found.image_r[[0, 2, 3], :, 0].mean(axis=0)
        np.testing.assert_allclose(found.r[:, 0], expected, atol=1e-6)

    def test_constant_heatmap_has_zero(self, rng):
        tokens, stains = rng.normal(size=(3, 6, 6, 3)), rng.normal(size=(3, 1, 6, 6))
        tokens[..., 2] = 5.0
        found = channel_correlations(
            tokens, np.eye(3), stains, kind="inner", artefacts=False, random_state=0
        )
        assert (found.r[2] == 0).all() and (found.p_value[2] == 1).all()

    def test_no_light_leak_is_no_channel(self, rng):
        fields = make_cell_fields(3, 1, light_leak_fraction=0.0, random_state=0)
        found = channel_correlations(
            fields.tokens, fields.directions, pool_channels(fields.images, (32, 32)),
            n_permutations=5, random_state=0,
        )  # fmt: skip
        leak = found.position("light leak")
        assert np.isnan(found.r[:, leak]).all() and np.isnan(found.q_value[:, leak]).all()
        assert (found.n_images[:, leak] == 0).all()
        assert np.isfinite(found.q_value[:, :5]).all()
        assert "light leak" not in found.calls().call

    def test_one_unit_has_no_interval(self, rng):
        found = channel_correlations(
            rng.normal(size=(3, 6, 6, 2)), np.eye(2), rng.normal(size=(3, 1, 6, 6)),
            units=["one"] * 3, artefacts=False, n_permutations=5, random_state=0,
        )  # fmt: skip
        assert np.isnan(found.low).all() and np.isnan(found.high).all()
        assert "one unit has no interval" in repr(found)

    def test_results_do_not_depend_on_other_features(self, rng):
        tokens, stains = rng.normal(size=(3, 8, 8, 5)), rng.normal(size=(3, 2, 8, 8))
        directions = rng.normal(size=(9, 5))
        options = dict(n_permutations=9, random_state=0)
        whole = channel_correlations(tokens, directions, stains, **options)
        part = channel_correlations(tokens, directions[4:6], stains, **options)
        for name in ("r", "z", "p_value", "partial", "low"):
            np.testing.assert_allclose(whole[name][4:6], part[name], atol=1e-9, err_msg=name)

    def test_blocks_of_features(self, rng, monkeypatch):
        tokens, stains = rng.normal(size=(2, 6, 6, 5)), rng.normal(size=(2, 1, 6, 6))
        directions = rng.normal(size=(11, 5))
        chosen = rng.random((2, 11)) < 0.3
        chosen[0] &= ~chosen[1]
        options = dict(chosen=chosen, n_permutations=4, random_state=0)
        whole = channel_correlations(tokens, directions, stains, **options)
        monkeypatch.setattr("skdict.imaging._channels._BLOCK", 4)
        monkeypatch.setattr("skdict.imaging._channel_weights._VALUES", 12)
        blocks = channel_correlations(tokens, directions, stains, **options)
        for name in ("r", "p_value", "q_value", "low", "high", "partial", "image_r"):
            np.testing.assert_allclose(whole[name], blocks[name], atol=1e-6, err_msg=name)

    def test_out(self, rng, tmp_path):
        out = np.lib.format.open_memmap(
            tmp_path / "r.npy", mode="w+", dtype=np.float32, shape=(2, 3, 1)
        )
        found = channel_correlations(
            rng.normal(size=(2, 6, 6, 3)), np.eye(3), rng.normal(size=(2, 1, 6, 6)),
            artefacts=False, out=out, random_state=0,
        )  # fmt: skip
        assert found.image_r is out and out.any()


class TestErrors:
    @pytest.fixture
    def problem(self, rng):
        return rng.normal(size=(3, 6, 6, 4)), np.eye(4), rng.normal(size=(3, 2, 6, 6))

    def test_shapes(self, problem):
        tokens, directions, stains = problem
        with pytest.raises(ValueError, match=r"one entry per image of tokens, got 2 for 3"):
            channel_correlations(tokens, directions, stains[:2])
        with pytest.raises(ValueError, match="token grid does not match the stains: 6 x 6 tokens"):
            channel_correlations(tokens, directions, stains[:, :, :5])
        with pytest.raises(ValueError, match=r"stains must have shape"):
            channel_correlations(tokens, directions, stains[0])

    def test_names(self, problem):
        with pytest.raises(ValueError, match="name the 2 channels of stains, got 1"):
            channel_correlations(*problem, channels=["DNA"])
        with pytest.raises(ValueError, match="different names"):
            channel_correlations(*problem, channels=["DNA", "edge"])
        found = channel_correlations(*problem, channels=["DNA", "ER"], n_permutations=2)
        with pytest.raises(ValueError, match="one of 'DNA', 'ER', .* got 'Mito'"):
            found.position("Mito")

    def test_empty_channel(self, problem):
        tokens, directions, stains = problem
        stains[:, 1] = 3.0
        with pytest.raises(ValueError, match="channel 'channel 1' is constant on every image"):
            channel_correlations(tokens, directions, stains)

    def test_options(self, problem):
        with pytest.raises(ValueError, match="null must be one of 'shift', 'swap', got 'block'"):
            channel_correlations(*problem, null="block")
        with pytest.raises(ValueError, match="n_permutations must be an integer >= 1"):
            channel_correlations(*problem, n_permutations=0)
        with pytest.raises(ValueError, match="chosen must be a boolean mask"):
            channel_correlations(*problem, chosen=[0, 1, 1])
        with pytest.raises(ValueError, match="leaves no image to test feature 0"):
            channel_correlations(*problem, chosen=[True, True, True])
        with pytest.raises(ValueError, match="null='swap' needs a stratum with at least 2"):
            channel_correlations(*problem, null="swap", strata=[0, 1, 2])
        with pytest.raises(ValueError, match=r"out must have shape \(3, 4, 4\)"):
            channel_correlations(*problem, out=np.empty(3))
        with pytest.raises(ValueError, match="out must hold floats, got dtype int64"):
            channel_correlations(*problem, out=np.empty((3, 4, 4), dtype=int))
        with pytest.raises(ValueError, match="units must have one entry per row"):
            channel_correlations(*problem, units=["a", "b"])


def test_whole_way_from_pixels(fields):
    """Images in, channels out, with the images given one by one."""
    stains = pool_channels(fields.images.__getitem__, (32, 32), n_images=12)
    found = channel_correlations(
        fields.tokens, fields.directions, stains, channels=fields.channels, n_permutations=19,
        random_state=0,
    )  # fmt: skip
    assert (np.diag(found.r[:5, :5]) > 0.6).all()
