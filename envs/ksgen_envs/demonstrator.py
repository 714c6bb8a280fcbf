"""The human demonstrator: does a Workbench task step by step with a hand, and records it.

Hands and props follow paths; no physics is stepped. Every clip has 16 frames at 8 frames a second: in the first no
hand is seen, one enters from the picture's lower edge, reaches, closes on the prop, moves it to the step's goal, lets
go and leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import mujoco
import numpy as np
from numpy.typing import NDArray

from ksgen_envs.goals import Instruction, StepGoal
from ksgen_envs.hand.pinch import hold, press, relaxed
from ksgen_envs.hand.skeleton import Array, Posture, Side, blend
from ksgen_envs.motion import (
    Lift,
    Timing,
    Touch,
    approached_point,
    bent_wrist,
    carried_point,
    elbow_of,
    obstacle_height,
    plan_touch,
    progress,
    rotation_about,
    sample_timing,
)
from ksgen_envs.stage import SIDES, Stage, sample_person
from ksgen_envs.tasks import TASKS
from ksgen_envs.workbench import Workbench
from ksgen_models.demonstration import CLIP_FPS, CLIP_FRAMES, Demonstration, DemonstrationStep
from ksgen_models.errors import InvalidInput

_CHANGED = 6  # of 255: a smaller difference is no change
_FLESH = 0.008  # metres between a fingertip's keypoint and its skin
_SPECK = 12  # pixels at 256 × 256: smaller changed spots are noise


def demonstrate(
    env_id: str,
    seed: int,
    motion_seed: int | None = None,
    *,
    image_size: int = 256,
    instruction: Instruction | None = None,
) -> Demonstration:
    """Let a person do a task in a Workbench scene.

    Args:
        env_id: one of `ksgen_envs.TASKS`.
        seed: of the scene and of the person's looks.
        motion_seed: varies hands, paths, grasps and timing in the same scene; by default it follows from ``seed``.
        image_size: width and height of the pictures, pixels.
        instruction: what to do, one of `Workbench.instructions`; by default the scene's own instruction.

    Raises:
        UnknownTask: no such task.
        InvalidInput: a seed or the size is out of range.
    """
    if motion_seed is not None and (isinstance(motion_seed, bool) or motion_seed < 0):
        raise InvalidInput(f"motion_seed is {motion_seed!r}; give an integer of 0 or more, or None")
    bench = Workbench(env_id, seed, image_size=image_size)
    asked = instruction or bench.instruction
    moved = seed if motion_seed is None else int(motion_seed)
    rng, habit = motion_generator(env_id, seed, moved)
    look, shape, dress = sample_person(seed)
    stage = Stage(bench, look, shape, dress)
    try:
        frame = stage.picture()
        poses = [bench.object_poses(stage.model, stage.data)]
        steps = []
        for goal in asked.steps:
            steps.append(_perform(stage, goal, habit, rng))
            poses.append(bench.object_poses(stage.model, stage.data))
        return Demonstration(
            env_id=env_id,
            seed=int(seed),
            motion_seed=moved,
            task=asked.task,
            frame=frame,
            goal=stage.picture(),
            camera=stage.camera,
            fps=CLIP_FPS,
            look=look,
            objects=bench.object_names,
            steps=tuple(steps),
            poses=np.stack(poses).astype(np.float32),
        )
    finally:
        stage.close()


def motion_generator(env_id: str, seed: int, motion_seed: int) -> tuple[np.random.Generator, float]:
    """The generator of everything random about a demonstration's motion, and its liking for the right hand."""
    rng = np.random.default_rng([TASKS.index(env_id), seed, motion_seed, 104729])
    return rng, float(rng.normal(0.0, 0.5))


@dataclass(frozen=True)
class Work:
    """One step, planned.

    Attributes:
        goal: what is to happen.
        touch: how the hand holds.
        grip: the touch's posture with the other fingers closed on the prop.
        timing: when.
        lift: how high.
        outside: (3,) and (3,), where the holding point is before and after, out of the picture.
        tilt: (3,) rotation vector of the hand out there against its holding pose.
        elbow: (3,).
        start: the joints' positions before the step.
        body: (position, rotation) of the touched body before the step.
    """

    goal: StepGoal
    touch: Touch
    grip: Posture
    timing: Timing
    lift: Lift
    outside: tuple[Array, Array]
    tilt: tuple[Array, Array]
    elbow: Array
    start: Array
    body: tuple[Array, Array]


def _perform(stage: Stage, goal: StepGoal, habit: float, rng: np.random.Generator) -> DemonstrationStep:
    work = plan_step(stage, goal, habit, rng)
    clip, points, seen = [], [], []
    for index in range(CLIP_FRAMES):
        pose_at(stage, work, float(index))
        clip.append(stage.picture())
        frame_points, frame_seen = stage.keypoints()
        points.append(frame_points)
        seen.append(frame_seen)
    finish(stage, work)
    frames, keypoints = np.stack(clip), np.stack(points)
    return DemonstrationStep(
        description=goal.description,
        target=goal.target,
        image=frames[0],
        clip=frames,
        keypoints=keypoints,
        visible=np.stack(seen),
        region_of_motion=region_of_motion(keypoints, stage.bench.image_size),
        region_of_change=region_of_change(frames),
    )


def finish(stage: Stage, work: Work) -> None:
    """Leave the scene as it is when the step is done, without hands."""
    stage.hands[work.touch.side].hide()
    _move_prop(stage, work, 1.0)
    stage.refresh()


def undo(stage: Stage, work: Work) -> None:
    """Leave the scene as it was before the step, without hands."""
    stage.hands[work.touch.side].hide()
    _move_prop(stage, work, 0.0)
    stage.refresh()


def plan_step(stage: Stage, goal: StepGoal, habit: float, rng: np.random.Generator) -> Work:
    """Decide how a step is done from the stage's present state; ``habit`` > 0 favours the right hand."""
    data = stage.data
    start = data.qpos.copy()
    before = _body_pose(stage, goal)
    _set_joint(stage, goal, start, 1.0)
    after = _body_pose(stage, goal)
    data.qpos[:] = start
    mujoco.mj_kinematics(stage.model, data)
    spots = [(p + r @ goal.grasp.point, r @ goal.grasp.axis) for p, r in (before, after)]
    pressing = goal.verb == "press"
    towards = stage.eye - spots[0][0]
    towards = towards / np.linalg.norm(towards)
    touches = []
    for side in SIDES:
        elbow = elbow_of(side, rng.normal(0, 0.025, 3))
        touch = plan_touch(spots, goal.grasp.width, side, towards, elbow, stage.shape.size, rng, pressing=pressing)
        sign = 1.0 if side == "right" else -1.0
        middle = 0.5 * (spots[0][0][0] + spots[1][0][0])
        liking = touch.cost - sign * (6.0 * middle + habit + rng.normal(0.0, 0.15))
        touches.append((liking, touch, elbow))
    _, touch, elbow = min(touches, key=lambda entry: entry[0])
    moved = _moved_geoms(stage, goal)
    outside = tuple(_outside(stage, spot, touch.side, rng) for spot, _ in spots)
    lift = _lift(stage, goal, spots, outside[0], moved, rng)
    draft = Work(
        goal=goal,
        touch=touch,
        grip=touch.posture,
        timing=sample_timing(rng, pressing=pressing),
        lift=lift,
        outside=(outside[0], outside[1]),
        tilt=(rng.normal(0, 0.22, 3), rng.normal(0, 0.22, 3)),
        elbow=elbow,
        start=start,
        body=before,
    )
    return _well_timed(stage, draft if pressing else _gripped(stage, draft, moved), rng)


def _well_timed(stage: Stage, work: Work, rng: np.random.Generator) -> Work:
    # The picture's edge is crossed between two frames rather than in one, where the wrist would be cut off.
    timing = work.timing
    enters = [timing.enter, *rng.uniform(-1.0, 0.5, 5)]
    leaves = [timing.gone, *(timing.opened + rng.uniform(2.8, 4.4, 5))]
    enter = min(enters, key=lambda at: _cut_frames(stage, replace(work, timing=replace(timing, enter=at)), (1, 2, 3)))
    timing = replace(timing, enter=enter)
    frames = tuple(range(int(timing.opened) + 1, CLIP_FRAMES))
    gone = min(leaves, key=lambda at: _cut_frames(stage, replace(work, timing=replace(timing, gone=at)), frames))
    undo(stage, work)
    return replace(work, timing=replace(timing, gone=gone))


def _cut_frames(stage: Stage, work: Work, frames: tuple[int, ...]) -> int:
    # In how many frames much of the hand is seen, but not all.
    cut = 0
    for t in frames:
        _place(stage, work, float(t))
        image = stage.camera.project(stage.hands[work.touch.side].keypoints())[:, :2] / stage.bench.image_size
        inside = int(np.all((image > 0.0) & (image < 0.97), axis=1).sum())
        cut += 10 <= inside < 21
    return cut


def _gripped(stage: Stage, work: Work, moved: NDArray[np.int32]) -> Work:
    # Close the fingers that the pinch does not need on the prop, or as far as is comfortable.
    touch, hand = work.touch, stage.hands[work.touch.side]
    spot = work.body[0] + work.body[1] @ work.goal.grasp.point
    closed = touch.posture.fingers
    idle = (2, 3) if work.goal.grasp.width > 0.045 * stage.shape.size else (1, 2, 3)
    opened = Posture(
        tuple(touch.open_posture.fingers[i] if i in idle else closed[i] for i in range(4)), touch.posture.thumb
    )
    tight = Posture(
        tuple((s, k + 0.12, m + 0.35, e + 0.2) if i in idle else (s, k, m, e) for i, (s, k, m, e) in enumerate(closed)),
        touch.posture.thumb,
    )
    size = stage.shape.size
    mirror = np.array([1.0, -1.0 if touch.side == "left" else 1.0, 1.0])
    hand.set(spot - touch.rotation @ (mirror * touch.hold.point) * size, touch.rotation, opened)
    mujoco.mj_kinematics(stage.model, stage.data)
    table = np.array([stage.model.geom("table").id], np.int32)
    grip = hand.close_on(np.concatenate([moved, table]), opened, tight, fingers=idle)
    hand.hide()
    return replace(work, grip=grip)


def _body_pose(stage: Stage, goal: StepGoal) -> tuple[Array, Array]:
    body = stage.data.body(goal.body)
    return body.xpos.copy(), body.xmat.reshape(3, 3).copy()


def _set_joint(stage: Stage, goal: StepGoal, start: Array, share: float) -> None:
    """Move the step's joint straight from where it was to its goal, with what rides along."""
    data = stage.data
    data.qpos[:] = start
    mujoco.mj_kinematics(stage.model, data)
    before = data.body(goal.body).xpos.copy()
    joint = data.joint(goal.joint)
    first = joint.qpos.copy()
    joint.qpos[:] = first + (goal.goal - first) * share
    if len(first) == 7:
        joint.qpos[3:] = _mix_quaternions(first[3:], np.asarray(goal.goal[3:]), share)
    mujoco.mj_kinematics(stage.model, data)
    if goal.carried:
        shift = data.body(goal.body).xpos - before
        for name in goal.carried:
            data.joint(name).qpos[:3] += shift
        mujoco.mj_kinematics(stage.model, data)


def _mix_quaternions(start: Array, end: Array, share: float) -> Array:
    end = end if start @ end >= 0 else -end
    mixed = (1 - share) * start + share * end
    return mixed / np.linalg.norm(mixed)


def _move_prop(stage: Stage, work: Work, u: float) -> None:
    """Put the prop where it is at the share ``u`` in [0, 1] of the carrying time."""
    goal = work.goal
    if goal.verb != "place":
        _set_joint(stage, goal, work.start, progress(u, 0.0, 1.0))
        return
    _set_joint(stage, goal, work.start, 1.0)
    end = _held_point(stage, goal)
    _set_joint(stage, goal, work.start, progress(u, 0.10, 0.88))
    if 0.0 < u < 1.0:
        start = work.body[0] + work.body[1] @ goal.grasp.point
        spot = carried_point(start, end, u, work.lift.carry, float(work.lift.sway[1]))
        stage.data.joint(goal.joint).qpos[:3] += spot - _held_point(stage, goal)
        mujoco.mj_kinematics(stage.model, stage.data)


def _held_point(stage: Stage, goal: StepGoal) -> Array:
    position, rotation = _body_pose(stage, goal)
    return position + rotation @ goal.grasp.point


def _moved_geoms(stage: Stage, goal: StepGoal) -> NDArray[np.int32]:
    return stage.geoms_of(goal.body)


def _outside(stage: Stage, spot: Array, side: Side, rng: np.random.Generator) -> Array:
    # The ray through the lower edge of the picture says where a height leaves the picture.
    height = float(rng.uniform(0.09, 0.15))
    camera, size = stage.camera, stage.bench.image_size
    sign = 1.0 if side == "right" else -1.0
    pixel = np.array([size * (0.5 + sign * 0.1), float(size), 1.0])
    ray = camera.world_to_camera[:, :3].T @ np.linalg.solve(camera.intrinsics, pixel)
    eye = stage.eye
    edge = eye + ray * (height - eye[2]) / ray[2]
    across = 0.55 * spot[0] + sign * rng.uniform(0.02, 0.11)
    return np.array([across, edge[1] - rng.uniform(0.22, 0.27), height])


def _lift(
    stage: Stage,
    goal: StepGoal,
    spots: list[tuple[Array, Array]],
    outside: Array,
    moved: NDArray[np.int32],
    rng: np.random.Generator,
) -> Lift:
    start, end = spots[0][0], spots[1][0]
    others = stage.boxes(without=moved)
    below = start[2] - _lowest(stage, moved)
    over = obstacle_height(start, end, others, _half_width(stage, moved)) + below + 0.012
    carry = max(max(start[2], end[2]) + rng.uniform(0.020, 0.045), over)
    approach = obstacle_height(outside, start, others, 0.03) + 0.02 - start[2]
    leave = obstacle_height(end, outside, others, 0.03) + 0.02 - end[2]
    return Lift(
        hover=float(np.clip(max(rng.uniform(0.025, 0.05), approach), 0.0, 0.10)),
        carry=carry,
        rise=float(np.clip(max(rng.uniform(0.03, 0.05), leave), 0.0, 0.10)),
        sway=rng.normal(0.0, [0.015, 0.06]),
    )


def _lowest(stage: Stage, geoms: NDArray[np.int32]) -> float:
    model, data = stage.model, stage.data
    rotation = data.geom_xmat[geoms].reshape(-1, 3, 3)
    half = np.einsum("nij,nj->ni", np.abs(rotation), model.geom_aabb[geoms, 3:])
    return float((data.geom_xpos[geoms] - half)[:, 2].min())


def _half_width(stage: Stage, geoms: NDArray[np.int32]) -> float:
    model, data = stage.model, stage.data
    rotation = data.geom_xmat[geoms].reshape(-1, 3, 3)
    half = np.einsum("nij,nj->ni", np.abs(rotation), model.geom_aabb[geoms, 3:])
    return float(half[:, :2].max())


def pose_at(stage: Stage, work: Work, t: float) -> None:
    """Put prop and hand where they are at frame ``t``, ready for a picture."""
    _place(stage, work, t)
    stage.refresh()


def _place(stage: Stage, work: Work, t: float) -> None:
    timing, touch, goal = work.timing, work.touch, work.goal
    u = (t - timing.closed) / (timing.there - timing.closed)
    _move_prop(stage, work, float(np.clip(u, 0.0, 1.0)))
    hand = stage.hands[touch.side]
    if t <= 0.0 or t >= timing.gone:
        hand.hide()
        return
    _, body = _body_pose(stage, goal)
    spot, rotation = _held_point(stage, goal), body @ work.body[1].T @ touch.rotation
    if t < timing.arrive:
        way = (t - timing.enter) / (timing.arrive - timing.enter)
        rotation = rotation @ rotation_about(work.tilt[0] * (1 - progress(way, 0.2, 0.95)))
        spot = approached_point(work.outside[0], spot, way, work.lift.hover, float(work.lift.sway[0]))
    elif t > timing.opened:
        way = 1 - (t - timing.opened) / (timing.gone - timing.opened)
        rotation = rotation @ rotation_about(work.tilt[1] * (1 - progress(way, 0.1, 0.9)))
        spot = approached_point(work.outside[1], spot, way, work.lift.rise, 0.0)
    posture, held = _fingers(work, t)
    mirror = np.array([1.0, -1.0 if touch.side == "left" else 1.0, 1.0])
    wrist = spot - rotation @ (mirror * held) * stage.shape.size
    posture = bent_wrist(posture, wrist, rotation, touch.side, work.elbow)
    hand.set(wrist, rotation, posture)
    # Fingers have flesh around their bones and lie on the table rather than in it.
    sunk = _FLESH * stage.shape.size - float(hand.keypoints()[:, 2].min())
    if sunk > 0.0:
        hand.set(wrist + np.array([0.0, 0.0, sunk]), rotation, posture)


def _fingers(work: Work, t: float) -> tuple[Posture, Array]:
    """Posture at frame ``t`` and its holding point in the hand frame of an average right hand."""
    timing, touch = work.timing, work.touch
    closing = progress(t, timing.arrive - 0.3, timing.closed) * (1 - progress(t, timing.there, timing.opened))
    easing = 1 - progress(t, timing.enter, timing.arrive - 1.0) + progress(t, timing.opened + 0.5, timing.gone - 0.5)
    posture = blend(touch.open_posture, work.grip, closing)
    posture = blend(posture, relaxed(), 0.8 * float(np.clip(easing, 0, 1)))
    where = press if work.goal.verb == "press" else hold
    opened = where(touch.open_posture).point
    return posture, opened + (touch.hold.point - opened) * closing


def region_of_motion(keypoints: NDArray[np.float32], size: int) -> NDArray[np.bool_]:
    """(H, W) bool: convex hulls of each frame's keypoints inside the picture, united over hands and time.

    Args:
        keypoints: (T, 2, 21, 3), x and y normalised, NaN where absent.
        size: H = W.
    """
    import cv2

    mask = np.zeros((size, size), np.uint8)
    for points in keypoints.reshape(-1, 21, 3)[:, :, :2]:
        inside = points[np.all((points >= 0) & (points < 1), axis=1)]
        if len(inside) >= 3:
            hull = cv2.convexHull(np.round(inside * size - 0.5).astype(np.int32))
            cv2.fillConvexPoly(mask, hull, 1)
    return mask.astype(bool)


def region_of_change(clip: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels of (T, H, W, 3) uint8 that differ visibly from frame 0 in some frame, without specks."""
    import cv2

    change = np.zeros(clip.shape[1:3], np.uint8)
    for frame in clip[1:]:
        change |= (cv2.absdiff(frame, clip[0]).max(axis=-1) > _CHANGED).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(change, connectivity=8)
    least = _SPECK * (clip.shape[1] / 256) ** 2
    kept = [label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= least]
    return np.isin(labels, kept)
