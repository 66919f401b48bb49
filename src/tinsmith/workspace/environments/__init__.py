"""Which toolchains a repository needs, and what of the machine the sandbox must see so that its tests run offline.

Recipes are data (`recipes/*.toml`); a person adds to them, or adds others, in `tinsmith/environments/*.toml` below
$XDG_CONFIG_HOME.  A repository cannot: a recipe says what of the home directory is mounted.  Everything is mounted
read-only, and nothing of the home directory but what a recipe names.
"""

from tinsmith.workspace.environments.environment import Environment, detect, installed_in_tree
from tinsmith.workspace.environments.recipe import Recipe, load_recipes

__all__ = ["Environment", "Recipe", "detect", "installed_in_tree", "load_recipes"]
