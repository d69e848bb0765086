from __future__ import annotations

import msgspec
import pytest

from penstock.web.principal import ROLES, Limits, Principal, Role


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("asked", ROLES)
def test_a_role_includes_the_weaker_ones(role: Role, asked: Role) -> None:
    principal = Principal("key_1", "team", role)

    assert principal.may(asked) == (ROLES.index(role) >= ROLES.index(asked))


def test_a_principal_survives_its_way_between_processes() -> None:
    principal = Principal("key_1", "team", "operator", Limits(60))

    data = msgspec.msgpack.encode(principal)

    assert msgspec.msgpack.decode(data, type=Principal) == principal
