"""One decorated function as the cache sees it: its key, its plan, its shortcuts.

The shortcut is what makes a hit quick. Once an answer lies in memory, the arguments themselves lead
to its entry through a dict that the memory tier keeps true, and no digest is made. Only strings,
integers, booleans, bytes and None take part, and with their types, because `1`, `1.0` and `True`
are equal to a dict and not to us.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from penstock.cache.entry import weigh
from penstock.cache.keys import fingerprint, normal_form, quote
from penstock.cache.plan import OnError, Plan, Ttl
from penstock.clock import Seconds, seconds
from penstock.codec import Codec
from penstock.errors import ConfigurationError

if TYPE_CHECKING:
    from penstock.cache.tiers import Cache

_ALIASES = frozenset({str, int, bool, bytes, type(None)})


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a decorator is given; see `decorator.decorate`."""

    ttl: Ttl | None = None
    stale: Seconds = 0.0
    jitter: float | None = None
    negative_ttl: Seconds | None = None
    namespace: str | Callable[..., str] | None = None
    version: str | int = ""
    tags: Sequence[str] = ()
    tiers: Sequence[str] | None = None
    type: Any = None  # None: the function's return annotation
    cache_if: Callable[[Any], object] | None = None
    on_error: OnError = "raise"
    ignore: Sequence[str] = ()
    normal_form: bool = False


class CachedCall:
    """Keys, plans and shortcuts of one function, for whichever cache is in use."""

    def __init__(
        self, function: Callable[..., Any], options: Options, source: Callable[[], Cache]
    ) -> None:
        self.function = function
        self.options = options
        self._source = source
        self._cache: Cache | None = None
        self._number = -1
        self._signature = inspect.signature(function)
        self._simple = _plain_names(self._signature, options.ignore)
        self._identity = _identity(function)
        # Whether there is just one argument, and it can be given by position.
        self.argument = len(self._signature.parameters) == 1 and _plain_names(self._signature, ())
        self.namespace = quote(_static_namespace(options.namespace) or self._identity[0])
        self._dynamic = options.namespace if callable(options.namespace) else None
        self._templates = tuple(tag for tag in options.tags if "{" in tag)
        self._check()

    # --- the cache behind it ---------------------------------------------------------------------

    def cache(self, rebound: Callable[[Cache, dict[Hashable, Any]], None]) -> Cache:
        """The cache in use; `rebound` is told of it when it is another one than before."""
        cache = self._source()
        if cache is not self._cache:
            aliases: dict[Hashable, Any] = {}
            if cache.memory is not None:
                self._number, aliases = cache.memory.new_aliases()
            self._plan = self._make_plan(cache)
            self._cache = cache
            rebound(cache, aliases)
        return cache

    def plan(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Plan:
        """How this call's result is to be remembered."""
        return self.plan_for(self.bind(args, kwargs)) if self._templates else self._plan

    def plan_for(self, arguments: Mapping[str, Any]) -> Plan:
        """The same, of arguments by name."""
        if not self._templates:
            return self._plan
        tags = tuple(tag.format_map(arguments) for tag in self.options.tags)
        return msgspec.structs.replace(self._plan, tags=tags)

    # --- names -----------------------------------------------------------------------------------

    def key(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """The key of a call; equal for every way to write the same arguments."""
        namespace = self.namespace
        if self._dynamic is not None:
            namespace = quote(str(self._dynamic(*args, **kwargs)))
        return f"{namespace}:{self._digest(args, kwargs)}"

    def item_key(self, item: Any, over: str, rest: Mapping[str, Any]) -> str:
        """The key of one item of a batch call, whatever the other items are."""
        arguments = {**self._without_ignored(rest), over: item}
        return f"{self.namespace}:{self._fingerprint(arguments)}"

    def shortcut(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable | None:
        """What leads from these arguments to their entry; None when they need a digest."""
        if self._dynamic is not None:
            return None
        if self.argument and not kwargs and type(args[0]) is str:
            return args[0]
        values = (*args, *kwargs.values()) if kwargs else args
        types = tuple(map(type, values))
        if not _ALIASES.issuperset(types):
            return None
        return (types, values, tuple(kwargs))

    def remember_shortcut(self, shortcut: Hashable | None, full_key: str) -> None:
        """Let `shortcut` lead to the entry from now on, if it is in memory."""
        memory = self._cache.memory if self._cache is not None else None
        if shortcut is None or memory is None or not self._plan.allows("memory"):
            return
        entry = memory.entries.get(full_key)
        if entry is not None:
            memory.alias(entry, self._number, shortcut, size=weigh(shortcut) + 100)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Every argument by name, defaults too."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def apply(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with arguments by name, as `bind` gave them."""
        bound = self._signature.bind_partial()
        bound.arguments.update(
            {name: arguments[name] for name in self._signature.parameters if name in arguments}
        )
        return self.function(*bound.args, **bound.kwargs)

    def _digest(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        names = self._simple
        if names is not None and not kwargs and len(args) == len(names):
            return self._fingerprint(dict(zip(names, args, strict=True)))
        return self._fingerprint(self._without_ignored(self.bind(args, kwargs)))

    def _without_ignored(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.options.ignore:
            return arguments
        return {k: v for k, v in arguments.items() if k not in self.options.ignore}

    def _fingerprint(self, arguments: Mapping[str, Any]) -> str:
        if self.options.normal_form:
            arguments = {name: normal_form(value) for name, value in arguments.items()}
        return fingerprint(self._identity, self.options.version, arguments)

    # --- at decoration ---------------------------------------------------------------------------

    def _make_plan(self, cache: Cache) -> Plan:
        options = self.options
        negative = options.negative_ttl
        return Plan(
            codec=self._codec(cache),
            ttl=options.ttl,
            negative_ttl=None if negative is None else seconds(negative),
            stale=seconds(options.stale),
            jitter=cache.jitter if options.jitter is None else options.jitter,
            tags=tuple(options.tags),
            cache_if=options.cache_if,
            tiers=None if options.tiers is None else cache.check_tiers(options.tiers),
            on_error=options.on_error,
            label=".".join(self._identity[:1]),
        )

    def _codec(self, cache: Cache) -> Codec:
        """By the given type, or by the annotation if bytes can be read as that."""
        if self.options.type is not None:
            return cache.codecs.of(self.options.type)
        try:
            return cache.codecs.of(get_type_hints(self.function).get("return", Any))
        except Exception:  # names that do not resolve, or a type MessagePack cannot be read as
            return cache.codecs.of(Any)

    def _check(self) -> None:
        options, function = self.options, self.function
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ConfigurationError(
                f"{self._identity[0]} yields its results; a cache remembers what a function returns"
            )
        if options.ttl is not None and not callable(options.ttl):
            seconds(options.ttl)
        if options.on_error not in ("raise", "stale"):
            raise ConfigurationError(
                f"on_error is {options.on_error!r}; it can be 'raise' or 'stale'"
            )
        known = set(self._signature.parameters)
        for name in options.ignore:
            if name not in known:
                raise ConfigurationError(f"{self._identity[0]} has no argument {name!r} to ignore")


def _identity(function: Callable[..., Any]) -> tuple[str, ...]:
    """What tells this function from every other: its module and its qualified name.

    Every script is called `__main__`, so there the file takes part.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    if function.__module__ == "__main__":
        code = getattr(inspect.unwrap(function), "__code__", None)
        return name, code.co_filename if code is not None else ""
    return (name,)


def _static_namespace(namespace: str | Callable[..., str] | None) -> str | None:
    return namespace if isinstance(namespace, str) else None


def _plain_names(signature: inspect.Signature, ignore: Sequence[str]) -> tuple[str, ...] | None:
    """The parameters' names, if a call by position needs no binding."""
    parameters = signature.parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if ignore or any(parameter.kind not in positional for parameter in parameters):
        return None
    return tuple(signature.parameters)
