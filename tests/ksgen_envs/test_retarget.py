"""From a key step to robot waypoints: true demonstrations of every task, and what happens to unusable ones."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksgen_envs import demonstrate
from ksgen_envs.executors.contact import contact_of, times_at, turning_sense
from ksgen_envs.executors.hand_pose import HandPath, exact_hand, solve_hand_pose
from ksgen_envs.executors.prism import Prism, Window
from ksgen_envs.executors.prism_fit import fit_standing
from ksgen_envs.executors.retarget import HandRetargeter
from ksgen_envs.executors.retarget_accuracy import errors_of, key_step_of, step_truths
from ksgen_envs.executors.scene_change import Region, stands_out, vacated
from ksgen_envs.executors.sight import Sight
from ksgen_envs.executors.workspace import Workspace
from ksgen_envs.wordings import STEP_WORDINGS
from ksgen_models.demonstration import Camera
from ksgen_models.errors import InvalidInput, NoHandFound, OutOfReach
from ksgen_models.types import HandTrack

SEED = 1_000_000


@pytest.fixture(scope="module")
def stacking():
    """A demonstration of two blocks being stacked, and its truth."""
    return demonstrate("KSGen/StackBlocks-v0", SEED), step_truths("KSGen/StackBlocks-v0", SEED)


@pytest.fixture(scope="module")
def lamp():
    """A demonstration of a knob being turned and a button being pressed, and its truth."""
    return demonstrate("KSGen/SwitchOnLamp-v0", SEED), step_truths("KSGen/SwitchOnLamp-v0", SEED)


@pytest.fixture(scope="module")
def drawer():
    """A demonstration that opens a drawer, and its truth."""
    return demonstrate("KSGen/StoreInDrawer-v0", SEED), step_truths("KSGen/StoreInDrawer-v0", SEED)


def perfect_track(demonstration, index, frames=None):
    """A hand track as good as a tracker's can be: exact in the picture, with true proportions and no place in depth."""
    step = demonstration.steps[index]
    sight = Sight(demonstration.camera, 256, 256)
    keypoints = step.keypoints.copy()
    valid = np.isfinite(keypoints).all(axis=(2, 3))
    if frames is not None:
        valid[[at for at in range(len(valid)) if at not in frames]] = False
    world = np.full_like(keypoints, np.nan)
    for at, slot in zip(*np.nonzero(valid), strict=True):
        points = sight.lift(keypoints[at, slot, :, :2], keypoints[at, slot, :, 2])
        world[at, slot] = points - points.mean(axis=0)
    keypoints[~valid] = np.nan
    keypoints[..., 2] = 0.0
    return HandTrack(keypoints, world, valid.astype(np.float32), valid, np.zeros_like(valid))


def test_blocks_are_gripped_where_they_are_and_put_where_they_went(stacking):
    demonstration, truths = stacking
    retargeter = HandRetargeter(demonstration.camera)
    for index, truth in enumerate(truths):
        waypoints = retargeter.retarget_demonstration(demonstration, index)
        held = np.flatnonzero(waypoints.holding)
        grasp, above, below = waypoints.positions[[held[0], held[-2], held[-1]]]
        assert np.linalg.norm(grasp[:2] - truth.start[:2]) < 0.01
        # It is lowered along the camera's ray, feeling for what is below, through the place where it came to rest.
        assert waypoints.guarded is not None
        assert waypoints.guarded[held[-1]]
        assert above[2] > truth.end[2] > below[2]
        there = above + (below - above) * ((truth.end[2] - above[2]) / (below[2] - above[2]))
        assert np.linalg.norm(there - truth.end) < 0.012
        seen = retargeter.sight.project(np.stack([above, there, below]))
        assert np.ptp(seen, axis=0).max() < 1e-6
        assert waypoints.apertures[held].max() < waypoints.apertures[0]
        assert waypoints.positions[held, 2].max() > max(truth.start[2], truth.end[2]) + 0.03
        figures = errors_of(retargeter.read_demonstration(demonstration, index), truth)
        assert figures[4] < 5.0
        assert figures[5] < 8.0


def test_waypoints_follow_one_another_from_approach_to_retreat(stacking, lamp, drawer):
    for demonstration, truths in (stacking, lamp, drawer):
        retargeter = HandRetargeter(demonstration.camera)
        for index in range(len(truths)):
            path = retargeter.retarget_demonstration(demonstration, index)
            assert (np.diff(path.times) > 0).all()
            assert path.times[-1] <= 15 / demonstration.fps + 1e-6
            held = np.flatnonzero(path.holding)
            assert 0 < held[0] <= held[-1] < len(path.times) - 1
            assert (np.diff(held) == 1).all()
            assert path.positions[0, 2] > path.positions[held[0], 2] + 0.03
            assert path.positions[-1, 2] > path.positions[held[-1], 2] + 0.03


def test_a_hand_track_without_depth_does_as_well(stacking):
    demonstration, truths = stacking
    retargeter = HandRetargeter(demonstration.camera)
    for index, truth in enumerate(truths):
        figures = errors_of(
            retargeter.read(key_step_of(demonstration, index, perfect_track(demonstration, index))), truth
        )
        assert figures[0] < 1.0
        assert figures[2] < 1.2
        assert figures[6] < 2.0
        assert figures[7] < 2.0


@pytest.mark.parametrize("shift", [(0.03, -0.03), (0.0, -0.05), (0.12, -0.08)])
def test_a_hand_that_is_seen_elsewhere_when_it_takes_hold_leads_nowhere_else(stacking, shift):
    demonstration, truths = stacking
    retargeter = HandRetargeter(demonstration.camera)
    track = perfect_track(demonstration, 1)
    held = retargeter.read(key_step_of(demonstration, 1, track)).frames[0]
    keypoints = track.keypoints.copy()
    keypoints[held, :, :, :2] += shift
    figures = errors_of(retargeter.read(key_step_of(demonstration, 1, replace(track, keypoints=keypoints))), truths[1])
    assert figures[0] < 0.5
    assert figures[1] < 1.2


def test_nothing_is_carried_in_a_frame():
    x = np.array([0.2, 0.2, 0.2, 0.3, 0.5, 0.7, 0.8, 0.8, 0.8, 0.8])
    image = np.full((len(x), 21, 2), 0.5)
    image[..., 0] = x[:, None]
    hand = HandPath(1, np.ones(len(x), bool), np.zeros((len(x), 21, 3)), image, depth_known=False)
    nothing = np.zeros((1, 1), bool)
    left, right = (Region(nothing, nothing, np.array([at, 0.5]), 0.005) for at in (0.2, 0.8))
    taken, brought, away = times_at(hand, left, right)
    assert (x[taken], x[brought], away) == (0.2, 0.8, 0.0)
    assert times_at(hand, right, left)[2] > 0.1
    first, last, _ = times_at(hand, left, left)
    assert last - first >= 2


def test_knob_is_turned_clockwise_and_button_pressed_down(lamp):
    demonstration, truths = lamp
    retargeter = HandRetargeter(demonstration.camera)
    for index, truth in enumerate(truths):
        path = retargeter.retarget_demonstration(demonstration, index)
        spot = path.positions[path.holding]
        assert np.linalg.norm(spot[0, :2] - truth.start[:2]) < 0.01
        if truth.verb == "turn":
            turned = np.diff(path.yaws[path.holding])
            assert (turned <= 0).all()
            assert np.rad2deg(turned.sum()) < -70
        else:
            assert spot[:, 2].min() < truth.start[2] - 0.005
            assert not path.apertures.any()


def test_drawer_is_pulled_along_its_rail_by_the_knob(drawer):
    demonstration, truths = drawer
    path = HandRetargeter(demonstration.camera).retarget_demonstration(demonstration, 0)
    held = path.positions[path.holding]
    way, true_way = held[-1] - held[0], truths[0].end - truths[0].start
    assert np.linalg.norm(held[0, :2] - truths[0].start[:2]) < 0.01
    assert np.linalg.norm(way[:2] - true_way[:2]) < 0.025
    across = np.array([np.cos(path.yaws[0]), np.sin(path.yaws[0])])
    assert abs(across @ true_way[:2]) / np.linalg.norm(true_way) < 0.2


def test_pictures_may_be_smaller_than_the_cameras(stacking):
    import cv2

    demonstration, truths = stacking
    step = key_step_of(demonstration, 0, perfect_track(demonstration, 0))
    image, goal = (cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA) for picture in (step.image, step.goal))
    reading = HandRetargeter(demonstration.camera).read(replace(step, image=image, goal=goal))
    assert np.linalg.norm(reading.grasp[:2] - truths[0].start[:2]) < 0.012


def test_without_a_change_in_the_picture_the_hand_alone_leads(stacking):
    demonstration, truths = stacking
    step = key_step_of(demonstration, 0, perfect_track(demonstration, 0))
    reading = HandRetargeter(demonstration.camera).read(replace(step, goal=step.image))
    assert reading.evidence == "hand"
    assert np.linalg.norm(reading.grasp[:2] - truths[0].start[:2]) < 0.02


def test_out_of_reach_says_what_is_out_of_reach(stacking):
    demonstration, truths = stacking
    small = Workspace(low=(-0.02, -0.02, 0.0), high=(0.02, 0.02, 0.3), slack=0.0)
    with pytest.raises(OutOfReach, match=r"cm beyond the robot's reach in [xy]"):
        HandRetargeter(demonstration.camera, workspace=small).retarget_demonstration(demonstration, 0)
    assert max(np.abs(truths[0].start[:2])) > 0.02
    narrow = Workspace(widest=0.02)
    with pytest.raises(OutOfReach, match="too wide"):
        HandRetargeter(demonstration.camera, workspace=narrow).retarget_demonstration(demonstration, 0)


def test_a_clip_without_a_hand_is_refused(stacking):
    demonstration, _ = stacking
    step = key_step_of(demonstration, 0, perfect_track(demonstration, 0, frames=(5, 6)))
    with pytest.raises(NoHandFound, match="3 are needed"):
        HandRetargeter(demonstration.camera).retarget(step)
    with pytest.raises(InvalidInput):
        HandRetargeter(demonstration.camera).retarget_demonstration(demonstration, 2)


def test_pnp_finds_a_hand_of_true_proportions(stacking):
    demonstration, _ = stacking
    sight = Sight(demonstration.camera, 256, 256)
    hand = exact_hand(demonstration.steps[0].keypoints, sight)
    truth, image = hand.points[6], hand.image[6]
    found = solve_hand_pose(image, truth - truth[0], sight)
    assert found is not None
    np.testing.assert_allclose(found, truth, atol=1e-4)
    assert solve_hand_pose(np.full((21, 2), 0.5), np.zeros((21, 3)), sight) is None


@pytest.mark.parametrize(
    ("kind", "contact"),
    [("open_drawer", "slide"), ("close_drawer", "slide"), ("turn_knob", "turn"), ("press_button", "press")]
    + [(kind, "carry") for kind in ("stand_upright", "lay_lower", "stack", "into_bin", "into_drawer", "into_hole")],
)
def test_every_wording_of_a_step_says_its_kind_of_contact(kind, contact):
    for words in STEP_WORDINGS[kind]:
        assert contact_of(words.format(a="red block", b="blue")) == contact, words


def test_words_say_which_way_to_turn():
    assert turning_sense("Turn the knob clockwise") == -1
    assert turning_sense("Twist the dial counter-clockwise") == 1
    assert turning_sense("Turn the knob") == 0


@given(
    x=st.floats(-0.2, 0.2),
    y=st.floats(-0.2, 0.2),
    z=st.floats(0.0, 0.2),
    tilt=st.floats(0.6, 1.5),
    far=st.floats(0.5, 1),
)
@settings(max_examples=60, deadline=None)
def test_a_ray_meets_the_point_it_was_projected_from(x, y, z, tilt, far):
    down, right = np.array([0.0, -np.sin(tilt), -np.cos(tilt)]), np.array([1.0, 0.0, 0.0])
    forward = np.cross(right, down)
    rotation = np.stack([right, down, forward])
    eye = -far * forward
    camera = Camera(np.array([[300.0, 0, 128], [0, 300.0, 128], [0, 0, 1]]), np.c_[rotation, -rotation @ eye])
    sight = Sight(camera, 256, 256)
    point = np.array([x, y, z])
    np.testing.assert_allclose(sight.at_height(sight.project(point), z), point, atol=1e-9)
    depth = camera.project(point)[2]
    np.testing.assert_allclose(sight.lift(sight.project(point), depth), point, atol=1e-9)


@pytest.mark.skipif(
    find_spec("dex_retargeting") is None or find_spec("gymnasium_robotics") is None, reason="needs the extra dexterous"
)
def test_the_shadow_hand_pinches_when_the_person_pinches(stacking):
    from ksgen_envs.executors.dexterous import ShadowHandRetargeter

    demonstration, _ = stacking
    retargeter = ShadowHandRetargeter()
    track = perfect_track(demonstration, 0, frames=(3, 4, 6, 8, 12))
    path = retargeter.retarget(key_step_of(demonstration, 0, track))
    assert path.joints.shape == (5, 22)
    low, high = np.array([retargeter.model.joint(name).range for name in path.joint_names]).T
    assert (path.joints > low - 1e-6).all()
    assert (path.joints < high + 1e-6).all()
    tips = np.stack([retargeter.fingertips(joints) for joints in path.joints])
    pinch = np.linalg.norm(tips[:, 0] - tips[:, 1], axis=-1)
    held, open_ = pinch[[2, 3]], pinch[[1, 4]]
    assert held.max() < open_.min()


@pytest.mark.parametrize("is_round", [True, False])
def test_round_things_and_boxes_are_told_apart(stacking, is_round):
    sight = Sight(stacking[0].camera, 256, 256)
    yaw, width = (0.0, 0.026) if is_round else (0.25, 0.04)
    thing = Prism(0.05, -0.06, 0.0, yaw, width, width, 0.08 if is_round else 0.04, round=is_round)
    everywhere = np.zeros((256, 256), bool)
    whole = Window(0, 0, 256, 256, np.zeros((768, 768), bool), np.zeros((768, 768), bool))
    mask = whole.silhouette(thing, sight)[1::3, 1::3]
    region = Region(mask, everywhere, np.argwhere(mask)[:, ::-1].mean(axis=0) / 256, float(mask.mean()))
    found, mismatch = fit_standing(region, sight, pinch=sight.project(np.array([0.05, -0.06, thing.top - 0.02])))
    assert found.round == is_round
    assert np.hypot(found.x - thing.x, found.y - thing.y) < 0.003
    assert mismatch < 0.1
    assert found.width == pytest.approx(thing.width, abs=0.004)


def test_rays_meet_a_cylinder_on_its_surface(stacking):
    sight = Sight(stacking[0].camera, 256, 256)
    can = Prism(0.0, 0.0, 0.01, 0.0, 0.04, 0.04, 0.06, round=True)
    beside = sight.project(np.array([0.1, 0.1, 0.0]))
    points, met = can.surface(np.concatenate([sight.project(can.corners() * 0.5), beside[None]]), sight)
    assert met[:-1].all()
    assert not met[-1]
    radius = np.hypot(points[:-1, 0], points[:-1, 1])
    on_side = np.abs(radius - 0.02) < 1e-6
    on_top = np.abs(points[:-1, 2] - 0.06) < 1e-6
    assert (on_side | on_top).all()
    assert on_side.any()
    assert on_top.any()


def test_faint_change_counts_beside_clear_change():
    before = np.full((64, 64, 3), 120, np.uint8)
    after = before.copy()
    before[20:30, 20:30] = (160, 130, 120)  # clearly another colour
    before[30:50, 20:30] = (132, 120, 120)  # the same thing, nearly as the table
    before[50:60, 50:60] = (132, 120, 120)  # somewhere else: noise
    (region,) = vacated(before, after)
    assert region.mask[25, 25]
    assert region.mask[40, 25]
    assert not region.mask[55, 55]
    assert stands_out(before, region) > 0.03 > stands_out(after, region)
