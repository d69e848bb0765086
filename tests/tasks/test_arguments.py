from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from penstock.errors import ConfigurationError, InvalidInput, TooLarge
from penstock.tasks.arguments import MAX_ARGUMENTS, MAX_RESULT, Signature

if TYPE_CHECKING:
    from decimal import Decimal


class Colour(StrEnum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Order(msgspec.Struct):
    id: UUID
    at: datetime


class Person(BaseModel):
    name: str
    age: int = 0


def send(to: str, copies: int = 1, *, at: datetime | None = None) -> int:
    return copies


def typed(
    point: Point,
    order: Order,
    person: Person,
    colours: set[Colour],
    size: tuple[int, str],
    data: bytes,
    by_number: dict[int, float],
) -> None: ...


def starred(first: Point, /, *rest: int, **others: float) -> None: ...


def untyped(x, y=None): ...


def signature(function: Callable[..., Any]) -> Signature:
    return Signature(function, name="shop:order")


def through(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a worker calls the function with."""
    known = signature(function)
    return known.unpack(known.pack(args, kwargs))


def wrong(function: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, str]:
    """Why the arguments are refused."""
    with pytest.raises(InvalidInput) as raised:
        signature(function).pack(args, kwargs)
    assert "shop:order" in str(raised.value)
    (error,) = raised.value.fields["errors"]
    return error


def test_arguments_arrive_as_they_were_given():
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)

    assert through(send, "a@b", at=at) == (("a@b",), {"at": at})
    assert through(send, copies=3, to="a@b") == (("a@b", 3), {})


def test_arguments_of_many_types_arrive_with_their_types():
    order = Order(UUID(int=7), datetime(2026, 3, 1, tzinfo=UTC))
    given = (Point(1), order, Person(name="Ann"), {Colour.RED}, (1, "b"), b"\xff", {1: 0.5})

    args, kwargs = through(typed, *given)

    assert args == given
    assert not kwargs
    assert isinstance(args[2], Person)


def test_stars_and_positional_parameters_are_kept_apart():
    assert through(starred, Point(1, 2), 3, 4, z=1) == ((Point(1, 2), 3, 4), {"z": 1.0})
    assert through(starred, Point(1)) == ((Point(1),), {})


def test_a_parameter_left_to_its_default_is_not_sent():
    """So that the default of the day on which the job runs applies."""
    assert signature(send).pack(("a",), {}) == b'{"to":"a"}'
    assert signature(send).unpack(b'{"to":"a"}') == (("a",), {})


def test_none_is_taken_where_it_is_the_default():
    def old_style(name: str = None): ...  # type: ignore[assignment]  # noqa: RUF013

    assert through(old_style, None) == ((None,), {})


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "pointer", "detail"),
    [
        (send, (1,), {}, "/arguments/to", "Expected `str`, got `int`"),
        (send, (), {}, "/arguments/to", "missing a required argument: 'to'"),
        (send, ("a",), {"cc": "b"}, "/arguments/cc", "there is no such parameter"),
        (send, ("a",), {"to": "b"}, "/arguments", "multiple values for argument 'to'"),
        (send, ("a", 1, None), {}, "/arguments", "too many positional arguments"),
        (send, ("a", "x"), {}, "/arguments/copies", "Expected `int`, got `str`"),
        (starred, (Point("x"),), {}, "/arguments/first/x", "Expected `int`, got `str`"),  # type: ignore[arg-type]
        (starred, (Point(1), 1, "x"), {}, "/arguments/rest/1", "Expected `int`, got `str`"),
        (starred, (Point(1),), {"k": "x"}, "/arguments/others", "Expected `float`, got `str`"),
        (untyped, (object(),), {}, "/arguments/x", "`object` cannot be written as JSON"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_place(function, args, kwargs, pointer, detail):
    """P-101"""
    error = wrong(function, *args, **kwargs)

    assert error["pointer"] == pointer
    assert error["detail"].startswith(detail)


@pytest.mark.parametrize(
    "value", [(1, 2), {1, 2}, {1: "a"}, float("nan"), datetime(2026, 1, 1, tzinfo=UTC), Point(1)]
)
def test_what_json_would_change_is_refused_where_no_type_brings_it_back(value):
    assert "annotate the parameter" in wrong(untyped, value)["detail"]
    assert wrong(untyped, 1, y=value)["pointer"] == "/arguments/y"


def test_a_constraint_of_the_annotation_is_checked():
    def pay(cents: Annotated[int, msgspec.Meta(gt=0)]): ...

    assert wrong(pay, 0) == {"pointer": "/arguments/cents", "detail": "Expected `int` >= 1"}


def test_a_models_own_check_is_heeded():
    assert wrong(typed, Point(1), *[None] * 6)["pointer"] == "/arguments/order"


def test_huge_arguments_are_refused_with_what_to_do_instead():
    with pytest.raises(TooLarge, match="store the data and pass its id"):
        signature(send).pack(("x" * MAX_ARGUMENTS,), {})


def test_a_function_that_takes_other_arguments_by_now_says_so():
    with pytest.raises(InvalidInput, match="missing required field"):
        signature(send).unpack(b"{}")


def test_a_type_that_json_cannot_carry_is_said_before_any_call():
    def sort(items: set[int] | list[int]): ...

    with pytest.raises(ConfigurationError, match="shop:order has a type that JSON cannot carry"):
        signature(sort).prepare()


def test_an_annotation_that_cannot_be_found_is_named():
    def pay(amount: Decimal, times: int = 1): ...

    with pytest.raises(ConfigurationError, match="'Decimal' of the parameter amount"):
        signature(pay).prepare()


def test_a_result_has_the_type_that_the_function_is_annotated_to_return():
    def find() -> Sequence[Point]:
        return [Point(1)]

    known = signature(find)

    assert known.unpack_result(known.pack_result([Point(1)])) == [Point(1)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Point, Point(1, 2)),
        (Order, Order(UUID(int=7), datetime(2026, 3, 1, tzinfo=UTC))),
        (Person, Person(name="Ann")),
        (dict[int, tuple[Colour, bytes]], {1: (Colour.RED, b"\xff")}),
        (set[int] | None, {1, 2}),
        (float, 3.0),
        (int, 3),
        (Any, [1, {"a": None}]),
    ],
)
def test_a_result_gets_its_type_from_bytes_and_from_plain_values_alike(kind, value):
    def find(): ...

    find.__annotations__["return"] = kind
    known = signature(find)
    packed = known.pack_result(value)

    assert known.unpack_result(packed) == known.typed(msgspec.json.decode(packed)) == value


def test_a_result_that_is_none_of_the_annotated_type_arrives_as_plain_json():
    known = signature(send)

    assert known.unpack_result(known.pack_result({"odd": 1})) == {"odd": 1}


@pytest.mark.parametrize(
    ("value", "error"), [(object(), InvalidInput), ("x" * MAX_RESULT, TooLarge)]
)
def test_a_result_that_cannot_be_kept_is_refused(value, error):
    with pytest.raises(error, match="shop:order"):
        signature(send).pack_result(value)


def test_the_return_type_need_not_be_importable():
    def pay() -> Decimal: ...

    assert signature(pay).unpack_result(b'"1.5"') == "1.5"


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(plain, plain)
def test_plain_json_values_arrive_unchanged(x, y):
    assert through(untyped, x, y) == ((x, y), {})
