"""Props: each owns its geometry, sensors, grasps, variations and effects; a task only puts them together."""
