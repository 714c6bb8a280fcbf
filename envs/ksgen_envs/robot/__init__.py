"""The robot: a light parallel gripper on a Cartesian arm, pointing down."""
