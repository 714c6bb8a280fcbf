"""Hands: 21 keypoints of each hand through a clip. Import `HandTracker` from `ksgen_models.hands.tracker`."""
