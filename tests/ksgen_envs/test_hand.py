"""The human hand: proportions, postures, mirror image, and what it does to a model."""

import mujoco
import numpy as np
import pytest

from ksgen_envs.hand.model import Hand, add_hand
from ksgen_envs.hand.pinch import WIDEST, grasp, hold, open_hand, pinch, relaxed
from ksgen_envs.hand.skeleton import BONES, HandShape, bone_frames, pad
from ksgen_envs.hand.surface import hand_surface
from ksgen_models.demonstration import HandLook
from ksgen_models.errors import InvalidInput

LOOK = HandLook((0.8, 0.6, 0.5), (0.2, 0.3, 0.6))


@pytest.fixture(scope="module")
def scene():
    """A model with both hands over a block."""
    spec = mujoco.MjSpec()
    spec.worldbody.add_geom(name="block", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.03, 0.03, 0.03], pos=[0.1, 0.0, 0.0])
    spec.worldbody.add_body(name="loose").add_freejoint(name="loose")
    spec.body("loose").add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[0.01, 0, 0])
    for side in ("left", "right"):
        add_hand(spec, side, LOOK, HandShape())
    model = spec.compile()
    data = mujoco.MjData(model)
    return model, data, {side: Hand(model, data, side) for side in ("left", "right")}


def test_hand_has_human_proportions(scene):
    _, _, hands = scene
    hands["right"].set(np.zeros(3), np.eye(3), open_hand())
    points = hands["right"].keypoints()
    bones = [np.linalg.norm(points[a] - points[b]) for a, b in ((0, 9), (9, 10), (10, 11), (11, 12))]
    assert 0.088 < bones[0] < 0.105
    assert 0.170 < sum(bones) < 0.195
    # Thumb on one side, little finger on the other.
    assert points[4, 1] > 0.04
    assert points[17, 1] < -0.02


def test_left_hand_mirrors_right(scene):
    _, _, hands = scene
    for side in ("left", "right"):
        hands[side].set(np.zeros(3), np.eye(3), grasp(0.05))
    np.testing.assert_allclose(hands["left"].keypoints() * [1, -1, 1], hands["right"].keypoints(), atol=1e-9)


def test_sites_are_where_keypoints_are(scene):
    model, data, hands = scene
    hands["left"].set(np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.5, 0.5, 0.5]), pinch(0.03))
    mujoco.mj_kinematics(model, data)
    sites = np.stack([data.site(f"hand_left_keypoint{i}").xpos for i in range(21)])
    np.testing.assert_allclose(sites, hands["left"].keypoints(), atol=1e-6)


def test_hidden_hand_has_no_keypoints(scene):
    _, _, hands = scene
    hands["right"].hide()
    assert np.isnan(hands["right"].keypoints()).all()
    assert not hands["right"].present


def test_hand_leaves_the_physics_alone(scene):
    model, _, _ = scene
    assert model.nq == 7
    assert not model.geom_contype[[i for i in range(model.ngeom) if "hand_" in model.geom(i).name]].any()


@pytest.mark.parametrize("style", ["over", "beside"])
@pytest.mark.parametrize("aperture", [0.0, 0.02, 0.04, 0.07])
def test_pinch_has_the_wanted_aperture(aperture, style):
    posture = pinch(aperture, style)
    gap = np.linalg.norm(pad(7, posture)[0] - pad(4, posture)[0])
    assert gap == pytest.approx(aperture, abs=0.006)
    assert np.linalg.norm(hold(pinch(0.04, style)).axis) == pytest.approx(1.0)


def test_too_wide_a_pinch_says_so():
    with pytest.raises(InvalidInput, match="aperture"):
        grasp(WIDEST + 0.01)


def test_fingers_close_until_they_touch(scene):
    model, _, hands = scene
    hand = hands["right"]
    hand.set(np.array([0.0, 0.0, 0.06]), np.eye(3), relaxed())
    block = np.array([model.geom("block").id], np.int32)
    fist = grasp(0.0)
    tight = type(fist)(tuple((s, 1.2, 1.4, 0.8) for s, *_ in fist.fingers), fist.thumb)
    touched = hand.close_on(block, relaxed(), tight)
    # Middle finger: nearer to the block than before, and not inside it.
    capsules = hand.touch_geoms[6:9]
    gap = min(hand.gap(int(capsule), int(block[0])) for capsule in capsules)
    assert 0.0 < gap < 0.006
    assert touched.fingers[1][1] > relaxed().fingers[1][1]


def test_surface_is_a_skin():
    surface = hand_surface(1.0)
    np.testing.assert_allclose(surface.weights.sum(axis=0), 1.0)
    assert (surface.weights >= 0).all()
    assert surface.weights.shape == (len(BONES), len(surface.vertices))
    # Every bone moves some of the skin, and every fingertip is covered.
    assert (surface.weights.sum(axis=1) > 1).all()
    origins, rotations = bone_frames(open_hand())
    assert np.isfinite(origins).all()
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)
