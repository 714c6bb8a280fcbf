"""The Workbench's tasks as Gymnasium goal environments with a robot."""
