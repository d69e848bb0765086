"""What a task takes and gives, as JSON.

The arguments of a call become one Struct made of the function's signature. It is written and at
once read again, with the types that the function is annotated with: what a worker will be handed is
proven when the job is enqueued, in under a microsecond for a few plain arguments.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from penstock.errors import ConfigurationError, InvalidInput, TooLarge

MAX_ARGUMENTS: Final = 1 << 20  # bytes of one job's arguments
MAX_RESULT: Final = 4 << 20  # bytes of one job's result

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NOTHING: Final = b"{}"
_NONE: Final = b"null"
# msgspec ends its messages with the place: "Expected `int`, got `str` - at `$.items[2].size`".
_PLACE = re.compile(r" - at `(?:key in )?\$(.*)`$")


def to_json(value: Any) -> object:
    """Turn a pydantic model, which msgspec does not know, into what JSON knows."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"`{type(value).__qualname__}` cannot be written as JSON")


def from_json(type: Any, value: Any) -> object:
    """Read a pydantic model back."""
    if hasattr(type, "model_validate"):
        return type.model_validate(value)
    if isinstance(value, type):
        return value
    raise msgspec.ValidationError(f"Expected `{type.__qualname__}`, which JSON cannot carry")


_encode = msgspec.json.Encoder(enc_hook=to_json).encode
_decode_any = msgspec.json.Decoder().decode


class Signature:
    """The arguments and the result of one function; built when the first call is packed."""

    def __init__(self, function: Callable[..., Any], *, name: str) -> None:
        self.name = name
        self._function = function
        self._parameters = inspect.signature(function).parameters
        kinds = {parameter.kind for parameter in self._parameters.values()}
        self._rest = next(
            (n for n, p in self._parameters.items() if p.kind is p.VAR_POSITIONAL), ""
        )
        self._others = next((n for n, p in self._parameters.items() if p.kind is p.VAR_KEYWORD), "")
        # Whether the Struct can be called as the function is: then nothing need be bound by hand.
        self._plain = kinds <= {
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        }

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters, which a key may be made of."""
        return list(self._parameters)

    @property
    def required(self) -> list[str]:
        """The parameters without which the function cannot be called."""
        return [
            name
            for name, parameter in self._parameters.items()
            if parameter.default is parameter.empty and name not in (self._rest, self._others)
        ]

    def prepare(self) -> None:
        """Read the annotations now. Raises ConfigurationError for one that JSON cannot carry."""
        _ = self._struct, self._decode, self._decode_result

    # --- arguments -------------------------------------------------------------------------------

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """The arguments of a call as JSON, without those that are left to their defaults.

        Raises InvalidInput, which says which argument is wrong, and TooLarge.
        """
        if not self._parameters and not args and not kwargs:
            return _NOTHING
        try:
            given = self._struct(*args, **kwargs) if self._plain else self._bound(args, kwargs)
            packed = _encode(given)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise self._explained(error, args, kwargs) from error
        if len(packed) > MAX_ARGUMENTS:
            raise TooLarge(
                f"the arguments of {self.name} take {len(packed):,} bytes and {MAX_ARGUMENTS:,} is "
                "the most: store the data and pass its id"
            )
        try:
            read = self._decode(packed)
        except Exception as error:  # a hook runs a model's own code: whatever it raises is a no
            raise self._invalid(str(error)) from error
        for name in self._untyped:
            if getattr(read, name) != getattr(given, name):
                raise self._invalid(
                    "it would not arrive as it is given: annotate the parameter with its type"
                    f" - at `$.{name}`"
                )
        return packed

    def unpack(self, packed: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call. Raises InvalidInput when the function takes others by now."""
        if packed == _NOTHING and not self._parameters:
            return (), {}
        try:
            read = self._decode(packed)
        except Exception as error:
            raise self._invalid(str(error)) from error
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        by_position = True
        for name, parameter in self._parameters.items():
            value = getattr(read, name)
            if value is UNSET:
                # What follows a parameter left to its default has to be named.
                by_position = False
            elif name == self._rest:
                args.extend(value)
            elif name == self._others:
                kwargs.update(value)
            elif by_position and parameter.kind in _BY_POSITION:
                args.append(value)
            else:
                kwargs[name] = value
        return tuple(args), kwargs

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by name, defaults included. Raises InvalidInput."""
        try:
            bound = inspect.Signature(list(self._parameters.values())).bind(*args, **kwargs)
        except TypeError as error:
            raise self._explained(error, args, kwargs) from error
        bound.apply_defaults()
        return bound.arguments

    # --- results ---------------------------------------------------------------------------------

    def pack_result(self, value: object) -> bytes:
        """A result as JSON. Raises InvalidInput when it cannot be written, and TooLarge."""
        if value is None:
            return _NONE
        try:
            packed = _encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise InvalidInput(
                f"{self.name} returned what cannot be written as JSON: {error}"
            ) from error
        if len(packed) > MAX_RESULT:
            raise TooLarge(
                f"the result of {self.name} takes {len(packed):,} bytes and {MAX_RESULT:,} is the "
                "most: store it and return its id"
            )
        return packed

    def unpack_result(self, packed: bytes) -> Any:
        """A result, of the type that the function is annotated to return where it is one."""
        if packed == _NONE:
            return None
        try:
            return self._decode_result(packed)
        except Exception:  # the function returned something else than it says
            return _decode_any(packed)

    def typed(self, plain: object) -> Any:
        """The same of what `json.loads` made of it, which it is where types do not matter."""
        kind = self._result_type
        if kind is Any or type(plain) is kind:  # int, str, bool: nothing to be done
            return plain
        try:
            return msgspec.convert(plain, kind, dec_hook=from_json, str_keys=True)
        except Exception:  # as above
            return plain

    # --- the types -------------------------------------------------------------------------------

    @cached_property
    def _types(self) -> dict[str, Any]:
        function = inspect.unwrap(self._function)
        function = getattr(function, "func", function)  # functools.partial
        try:
            return get_type_hints(function, include_extras=True)
        except Exception:
            return self._types_one_by_one(function)

    def _types_one_by_one(self, function: Callable[..., Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, written in getattr(function, "__annotations__", {}).items():
            alone: Any = SimpleNamespace(__annotations__={name: written})
            try:
                found |= get_type_hints(
                    alone, getattr(function, "__globals__", {}), include_extras=True
                )
            except Exception as error:
                if name != "return":
                    raise ConfigurationError(
                        f"the type {written!r} of the parameter {name} of {self.name} cannot be "
                        f"found ({error}): import it where the task is declared"
                    ) from error
        return found

    def _type_of(self, parameter: inspect.Parameter) -> Any:
        kind: Any = self._types.get(parameter.name, Any)
        if parameter.default is None:
            return kind | None if kind is not Any else kind
        if parameter.kind is parameter.VAR_POSITIONAL:
            return tuple[kind, ...]
        if parameter.kind is parameter.VAR_KEYWORD:
            return dict.__class_getitem__((str, kind))
        return kind

    @cached_property
    def _struct(self) -> Callable[..., Any]:
        """Two Structs, the second below the first, since msgspec has keyword-only per class."""
        by_position: list[Any] = []
        by_name: list[Any] = []
        for name, parameter in self._parameters.items():
            kind = self._type_of(parameter)
            optional = parameter.default is not parameter.empty or name in (
                self._rest,
                self._others,
            )
            field = (name, kind | UnsetType, UNSET) if optional else (name, kind)
            (by_position if parameter.kind in _BY_POSITION else by_name).append(field)
        base = msgspec.defstruct("Arguments", by_position, gc=False)
        return msgspec.defstruct("Arguments", by_name, bases=(base,), kw_only=True, gc=False)

    @cached_property
    def _decode(self) -> Callable[[bytes], Any]:
        struct = self._struct
        try:
            return msgspec.json.Decoder(struct, dec_hook=from_json).decode
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"a parameter of {self.name} has a type that JSON cannot carry: {error}"
            ) from error

    @cached_property
    def _result_type(self) -> Any:
        return self._types.get("return", Any)

    @cached_property
    def _decode_result(self) -> Callable[[bytes], Any]:
        try:
            kind = self._result_type
            return msgspec.json.Decoder(kind, dec_hook=from_json).decode
        except (TypeError, ValueError):  # a type that msgspec does not read
            return _decode_any

    @cached_property
    def _untyped(self) -> list[str]:
        return [n for n, p in self._parameters.items() if _says_little(self._type_of(p))]

    # --- mistakes --------------------------------------------------------------------------------

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        bound = inspect.Signature(list(self._parameters.values())).bind(*args, **kwargs)
        given = bound.arguments
        return self._struct(**{name: given.get(name, UNSET) for name in self._parameters})

    def _explained(
        self, error: Exception, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> InvalidInput:
        """Which argument is too many, missing, or cannot be written."""
        known = self._parameters
        if not self._others and (strangers := [name for name in kwargs if name not in known]):
            return self._invalid(f"there is no such parameter - at `$.{strangers[0]}`")
        try:
            bound = inspect.Signature(list(known.values())).bind(*args, **kwargs).arguments
        except TypeError as unbound:
            places = [name for name, p in known.items() if p.kind in _BY_POSITION][: len(args)]
            absent = [name for name in self.required if name not in (*places, *kwargs)]
            at = f" - at `$.{absent[0]}`" if absent else ""
            return self._invalid(f"{unbound}{at}")
        for name, value in bound.items():
            try:
                _encode(value)
            except (TypeError, ValueError, OverflowError, RecursionError) as unwritable:
                return self._invalid(f"{unwritable} - at `$.{name}`")
        return self._invalid(str(error))

    def _invalid(self, message: str) -> InvalidInput:
        found = _PLACE.search(message)
        told = message[: found.start()] if found else message
        path = found[1].replace("[...]", "") if found else ""  # any key of a mapping
        where = re.sub(r"\[(\d+)\]", r".\1", path).removeprefix(".")
        pointer = "/".join(("/arguments", *where.split("."))) if where else "/arguments"
        return InvalidInput(
            f"{self.name} does not take these arguments: {where}{': ' if where else ''}{told}",
            errors=[{"pointer": pointer, "detail": told}],
        )


def _says_little(kind: Any) -> bool:
    """Tell whether values of other types than were given could come out of JSON unnoticed."""
    if kind in (Any, object, list, dict, tuple, set, frozenset):
        return True
    return get_origin(kind) is not None and any(map(_says_little, get_args(kind)))
