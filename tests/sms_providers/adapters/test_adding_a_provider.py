"""docs/adding-a-provider.md: its own tests run from the page; the shared ones run its adapter beside the nine."""

from tests import documented

documented.module("sms_providers/adapters/nimbus.py")
_page = documented.module("tests/sms_providers/adapters/test_nimbus.py")
globals().update({name: value for name, value in vars(_page).items() if name.startswith("test_")})


def test_the_page_has_tests():
    assert {"test_vector_1_accepted", "test_every_code", "test_balance"} <= globals().keys()
