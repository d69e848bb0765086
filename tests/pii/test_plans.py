from __future__ import annotations

import random
from collections.abc import Iterator

import phonenumbers
import pytest
from phonenumbers import PhoneMetadata, PhoneNumber

from penstock.pii.plans import Plans

KINDS = ("fixed_line", "mobile", "toll_free", "premium_rate", "voip", "uan", "pager")


@pytest.fixture(scope="module")
def plans() -> Plans:
    return Plans()


def numbers(code: int, regions: tuple[str, ...]) -> Iterator[str]:
    chance = random.Random(code)
    for region in regions:
        known = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
        for kind in KINDS:
            example = getattr(getattr(known, kind, None), "example_number", None)
            if example:
                at = chance.randrange(len(example))
                yield from (example, example + "1", "0" + example, "00" + example)
                yield example[:at] + chance.choice("0123456789") + example[at + 1 :]
    yield from ("".join(chance.choices("0123456789", k=size)) for size in range(1, 16))


def is_valid(code: int, national: str) -> bool:
    number = PhoneNumber(country_code=code, national_number=int(national))
    if national[0] == "0":
        number.italian_leading_zero = True
    return phonenumbers.is_valid_number(number)


@pytest.mark.parametrize("digit", range(1, 10))
def test_there_is_a_number_where_the_library_says_so(plans: Plans, digit: int) -> None:
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    for code in (code for code in codes if str(code)[0] == str(digit)):
        for national in numbers(code, codes[code]):
            assert plans.has(code, national) == is_valid(code, national), (code, national)


def test_nobody_has_a_number_without_digits_or_country(plans: Plans) -> None:
    assert not plans.has(1, "")
    assert not plans.has(999, "2125550134")
    assert not plans.is_code(999)
    assert plans.is_code(44)
