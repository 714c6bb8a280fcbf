# MuJoCo's names live in a compiled module that type checkers cannot read.
from typing import Any

def __getattr__(name: str) -> Any: ...
