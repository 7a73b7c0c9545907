"""`compactor schema`: each published schema describes a real document, and refuses one that is not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from compactor.recipe.load import load_recipe, to_yaml
from compactor_runtimes.measure.profile_file import write_profile
from tests.command_line import compactor
from tests.runtimes.compare_profiles import profile
from tests.runtimes.compare_runs import answers, write_run

KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
CHECKED = {"$ref", "anyOf", "type", "enum", "const", "properties", "required", "additionalProperties"}
CHECKED |= {"items", "prefixItems"}
# say nothing of what is allowed, or narrow a single number or string, which the records' own tests check
READ_OVER = {"title", "description", "default", "$defs", "discriminator", "pattern", "propertyNames"}
READ_OVER |= {
    "minItems",
    "maxItems",
    "minLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
}


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "$") -> Iterator[str]:
    """What of a document a schema does not allow; of the words of JSON schema those that msgspec writes."""
    assert schema.keys() <= CHECKED | READ_OVER, f"{at}: {schema.keys() - CHECKED - READ_OVER}"
    kind = schema.get("type")
    if "$ref" in schema:
        yield from faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    elif "anyOf" in schema:
        if all(any(faults(value, each, root, at)) for each in schema["anyOf"]):
            yield f"{at}: none of {len(schema['anyOf'])} kinds"
    elif kind and (not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        yield f"{at}: is no {kind}"
    elif value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{at}: {value!r}"
    elif isinstance(value, dict):
        yield from faults_of_keys(value, schema, root, at)
    elif isinstance(value, list):
        first, others = schema.get("prefixItems", []), schema.get("items", {})
        for place, inner in enumerate(value):
            each = first[place] if place < len(first) else others
            yield from [f"{at}: too long"] if each is False else faults(inner, each, root, f"{at}[{place}]")


def faults_of_keys(
    value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], at: str
) -> Iterator[str]:
    """What of a mapping a schema does not allow."""
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    yield from (f"{at}.{key}: is missing" for key in schema.get("required", []) if key not in value)
    for key, inner in value.items():
        each = known.get(key, others)
        if each is False:
            yield f"{at}.{key}: is not known"
        elif each is not True:
            yield from faults(inner, each, root, f"{at}.{key}")


def document(kind: str, folder: Path) -> Any:
    """A real document of each kind, as it is written."""
    if kind == "recipe":
        return yaml.safe_load(to_yaml(load_recipe("digits").recipe))
    if kind == "profile":
        write_profile(profile(), folder / "p.json")
        return json.loads((folder / "p.json").read_bytes())
    write_run(folder, "a", answers())
    write_run(folder, "b", answers(*range(1, 9)))
    options = ["--fail", "size>+0", "--fail", "p99>+1%", "--fail", "accuracy<-1", "--json"]
    return json.loads(compactor("compare", "a", "b", *options, cwd=folder).stdout)


@pytest.mark.parametrize("kind", ["recipe", "profile", "comparison"])
def test_a_published_schema_is_that_of_a_real_document(kind: str, tmp_path: Path) -> None:
    schema = json.loads(compactor("schema", kind, cwd=tmp_path).stdout)
    real = document(kind, tmp_path)
    assert list(faults(real, schema, schema)) == []
    assert list(faults(real | {"nonsense": 1}, schema, schema)) == ["$.nonsense: is not known"]
    first = next(iter(schema["$defs"][schema["$ref"].rpartition("/")[2]]["required"]))
    del real[first]
    assert f"$.{first}: is missing" in list(faults(real, schema, schema))


def test_a_recipes_is_the_default_and_another_word_is_refused(tmp_path: Path) -> None:
    bare = compactor("schema", cwd=tmp_path)
    assert bare.stdout == compactor("schema", "recipe", cwd=tmp_path).stdout
    assert "Recipe" in json.loads(bare.stdout)["$defs"]
    done = compactor("schema", "bundle", cwd=tmp_path)
    assert (done.returncode, "'recipe', 'profile', 'comparison'" in done.stderr) == (2, True)
