"""The models behind KSGen-Agent: planner, key-step images, region of motion, video, hands, and their training."""
