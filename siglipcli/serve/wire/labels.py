"""What a request says of labels → label sets. A set's name is looked up by the engine; it is never a path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from siglipcli.labels import LabelSet
from siglipcli.serve.errors import ApiError
from siglipcli.serve.wire.fields import Fields, is_larger, kind, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from siglipcli.serve.engine import Engine
    from siglipcli.serve.settings import ServeSettings

__all__ = ["LabelChoice", "comma_list", "from_schema", "plain_set", "read", "resolved"]

LabelChoice: TypeAlias = LabelSet | str
"""A label set, or the name of one that the server knows."""

_VALUES_PER_PROMPT = 4  # of a schema, at the most


def read(
    fields: Fields, settings: ServeSettings, *, key: str = "labels"
) -> tuple[LabelChoice, ...]:
    """Return the sets that a request wants by `key` or `label_sets`; none where it says nothing.

    `labels` are a list of names (or one text with commas), a list as in the YAML form, or a whole set in it.
    `label_sets` are names, or whole sets. Raises ApiError.
    """
    templates = fields.texts("templates", "templates")
    plain, named = fields.get(key), fields.get("label_sets")
    if plain is not None and named is not None:
        param = fields.place("label_sets")
        raise ApiError(400, f"{param} and {fields.place(key)} exclude each other.", param=param)
    if plain is not None:
        return (_labels(plain, fields.place(key), templates, settings),)
    if templates is not None:
        param = fields.place("templates")
        raise ApiError(400, f"{param} are for plain labels: send {key} too.", param=param)
    return () if named is None else _label_sets(named, fields.place("label_sets"), settings)


def _labels(
    value: Any, param: str, templates: list[str] | None, settings: ServeSettings
) -> LabelSet:
    if isinstance(value, dict):
        if templates:
            raise ApiError(400, f"templates belong into {param} here.", param="templates")
        return from_schema(value, param, settings)
    names = comma_list(value, param)
    if any(isinstance(item, dict) for item in names):
        keys = {"labels": names} | ({"templates": templates} if templates else {})
        return from_schema(keys, param, settings)
    return plain_set(names, param, settings, templates=templates)


def _label_sets(value: Any, param: str, settings: ServeSettings) -> tuple[LabelChoice, ...]:
    if isinstance(value, dict):
        return (from_schema(value, param, settings),)
    items = comma_list(value, param)
    _check_count(len(items), param, settings)
    _check_schemas([item for item in items if isinstance(item, dict)], param, settings)
    return tuple(
        from_schema(item, f"{param}[{at}]", settings)
        if isinstance(item, dict)
        else text_of(item, f"{param}[{at}]", most=200)
        for at, item in enumerate(items)
    )


def comma_list(value: object, param: str) -> list[Any]:
    """Return a list as it is, and a text cut at its commas. Raises ApiError where there is nothing in it."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, list) or not value:
        raise ApiError(
            400, f"{param}: expected a list of at least one, found {kind(value)}.", param=param
        )
    return value


def plain_set(
    names: Sequence[object],
    param: str,
    settings: ServeSettings,
    *,
    name: str = "labels",
    templates: Sequence[str] | None = None,
) -> LabelSet:
    """Return a set of plain labels, in this order. Raises ApiError."""
    _check_count(len(names), param, settings)
    _check_prompts(len(names) * len(templates or ("",)), param, settings)
    texts = [text_of(item, f"{param}[{at}]") for at, item in enumerate(names)]
    try:
        return LabelSet.of(texts, name=name, templates=templates)
    except ValueError as error:  # a LabelError is one
        raise ApiError(400, f"{param}: {error}", code="labels", param=param) from None


def from_schema(schema: Mapping[str, Any], param: str, settings: ServeSettings) -> LabelSet:
    """Return the set that an object with the keys of the YAML form describes. Raises ApiError."""
    if is_larger(schema, _VALUES_PER_PROMPT * settings.max_prompts):
        _check_count(settings.max_labels + 1, param, settings)
    _check_schemas([schema], param, settings)
    try:
        return LabelSet.from_dict(schema)
    except (TypeError, ValueError) as error:
        raise ApiError(400, f"{param}: {error}", code="labels", param=param) from None


def _check_schemas(
    schemas: Sequence[Mapping[str, Any]], param: str, settings: ServeSettings
) -> None:
    """Refuse very many labels or prompts of all these sets before templates are filled in.

    A request of 200 kB can have thousands of templates for thousands of labels.
    """
    counts = [_size(schema) for schema in schemas]
    _check_count(sum(labels for labels, _ in counts), param, settings)
    _check_prompts(sum(prompts for _, prompts in counts), param, settings)


def _size(schema: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many labels and prompts a schema has; what is no list counts as one, or none."""
    templates = schema.get("templates")
    filled = len(templates) if isinstance(templates, list) else 1
    labels = prompts = 0
    waiting = [schema.get("labels")]
    while waiting:
        items = waiting.pop()
        for item in items if isinstance(items, list) else ():
            own = item.get("prompts") if isinstance(item, dict) else None
            labels += 1
            prompts += len(own) if isinstance(own, list) else filled
            if isinstance(item, dict):
                waiting.append(item.get("children"))
    return labels, prompts


def _check_prompts(count: int, param: str, settings: ServeSettings) -> None:
    if count > settings.max_prompts:
        raise ApiError(
            413, f"{param}: {count:,} prompts in one request; send at most {settings.max_prompts:,}.",
            code="too_many_prompts", param=param,
        )  # fmt: skip


def _check_count(count: int, param: str, settings: ServeSettings) -> None:
    """Refuse very many labels before they are read; the engine counts those of all sets."""
    if count > settings.max_labels:
        raise ApiError(
            413, f"{param}: too many labels in one request; send at most {settings.max_labels:,}.",
            code="too_many_labels", param=param,
        )  # fmt: skip


def resolved(choices: Sequence[LabelChoice], engine: Engine) -> list[LabelSet]:
    """Return the sets themselves; the server's own where a request names none. Raises ApiError."""
    sets = [
        choice if isinstance(choice, LabelSet) else engine.label_set(choice) for choice in choices
    ]
    names = [label_set.name for label_set in sets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ApiError(400, f"label_sets: two label sets are called {twice!r}.", param="label_sets")
    if sets or engine.label_sets:
        return sets or list(engine.label_sets)
    raise ApiError(
        400, "There are no labels. Send labels, or the names of label_sets, or start the server with a label set.",
        code="no_labels", param="labels",
    )  # fmt: skip
