"""Every module of compactor stands on a floor that import-linter checks; none is forgotten."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FACE = {"compactor", "compactor.__main__", "compactor.recipe"}  # lazy, or empty


def test_every_module_stands_on_a_floor() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["name"] == "floors of compactor")
    floors = [name.strip() for layer in layers for name in layer.replace(":", "|").split("|")]
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / "compactor").rglob("*.py")
    }
    homeless = [
        module
        for module in modules - FACE
        if not any(module == floor or module.startswith(f"{floor}.") for floor in floors)
    ]
    assert not homeless
    assert all((ROOT / floor.replace(".", "/")).exists() or floor in modules for floor in floors)
