"""The filters: each a function from frames to one figure a frame, without a threshold of its own."""
