"""porttunnel/gateway/cookie_jar.py: what is told again, to whom, and that it stays small."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from porttunnel.gateway import cookie_jar
from porttunnel.gateway.cookie_jar import MAX_COOKIES, MAX_JAR_BYTES, CookieJar, CookieShelf

NOW = 1_800_000_000.0


def make_jar(
    *fields: bytes, target: bytes = b"/wiki/start?a=b", private: bool = True
) -> CookieJar:
    jar = CookieJar(b"wiki.example", private=private)
    for field in fields:
        jar.store(field, target, NOW)
    return jar


def test_a_cookie_is_told_again_below_its_path() -> None:
    jar = make_jar(b"here=1", b"all=2; path=/", b"deep=3; path=/wiki/deep")
    assert jar.field_for(b"/wiki/deep/x", NOW) == b"deep=3; here=1; all=2"
    assert jar.field_for(b"/wiki/deep", NOW) == b"deep=3; here=1; all=2"
    assert jar.field_for(b"/wiki/x?/wiki/deep", NOW) == b"here=1; all=2"
    assert jar.field_for(b"/wiki", NOW) == b"here=1; all=2"
    assert jar.field_for(b"/wikis", NOW) == b"all=2"
    assert make_jar(b"a=b").field_for(b"/", NOW) is None


def test_a_new_value_takes_the_place_of_the_old_one() -> None:
    jar = make_jar(b"a=1; path=/", b"b=2; path=/", b"a=3; path=/")
    assert jar.field_for(b"/", NOW) == b"a=3; b=2"
    assert jar.size_bytes == 4
    jar.store(b"a=; path=/; max-age=0", b"/", NOW)
    assert jar.field_for(b"/", NOW) == b"b=2"
    jar.store(b"never=1; max-age=0", b"/", NOW)
    assert len(jar) == 1


def test_cookies_end_at_their_time() -> None:
    jar = make_jar(b"a=1; max-age=10", b"b=2", target=b"/")
    assert jar.field_for(b"/", NOW + 9) == b"a=1; b=2"
    assert jar.field_for(b"/", NOW + 10) == b"b=2"
    assert (len(jar), jar.size_bytes) == (1, 2)


def test_domains() -> None:
    for said in (b"wiki.example", b".wiki.example", b"EXAMPLE"):
        assert make_jar(b"a=1; domain=" + said).field_for(b"/wiki/", NOW) == b"a=1"
    for said in (b"other.example", b"iki.example", b"x.wiki.example"):
        assert len(make_jar(b"a=1; domain=" + said)) == 0


def test_what_is_secret_needs_a_private_way() -> None:
    assert len(make_jar(b"a=1; secure")) == 1
    assert len(make_jar(b"a=1; secure", private=False)) == 0
    assert len(make_jar(b"a=1", private=False)) == 1
    assert len(make_jar(b"no cookie")) == 0


def test_what_was_not_used_for_long_goes_first() -> None:
    jar = make_jar(*(b"c%d=x; path=/%d" % (number, number) for number in range(MAX_COOKIES)))
    assert jar.field_for(b"/0", NOW) == b"c0=x"
    jar.store(b"new=x; path=/", b"/", NOW)
    assert len(jar) == MAX_COOKIES
    assert jar.field_for(b"/0", NOW) == b"c0=x; new=x"
    assert jar.field_for(b"/1", NOW) == b"new=x"


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 4_000)), max_size=120))
def test_a_jar_stays_small(stored: list[tuple[int, int]]) -> None:
    jar = make_jar(*(b"c%d=" % name + b"x" * size for name, size in stored), target=b"/")
    assert len(jar) <= MAX_COOKIES
    assert jar.size_bytes <= MAX_JAR_BYTES
    told = (jar.field_for(b"/", NOW) or b"").split(b"; ")
    assert sum(len(pair) - 1 for pair in told if pair) == jar.size_bytes


def test_clearing() -> None:
    jar = make_jar(b"a=1", b"b=2")
    jar.clear()
    assert (len(jar), jar.size_bytes) == (0, 0)
    assert jar.field_for(b"/wiki/", NOW) is None


def test_each_device_has_a_jar_of_its_own() -> None:
    shelf = CookieShelf(b"wiki.example", private=True)
    shelf.jar_of("one").store(b"a=1", b"/", NOW)
    assert shelf.jar_of("two").field_for(b"/", NOW) is None
    assert shelf.jar_of("one").field_for(b"/", NOW) == b"a=1"
    shelf.forget("one")
    shelf.forget("three")
    assert len(shelf) == 1
    assert shelf.jar_of("one").field_for(b"/", NOW) is None


def test_of_too_many_jars_the_least_used_goes() -> None:
    shelf = CookieShelf(b"wiki.example", private=True)
    for number in range(cookie_jar.MAX_JARS):
        shelf.jar_of(str(number))
    first = shelf.jar_of("0")
    shelf.jar_of("another")
    assert len(shelf) == cookie_jar.MAX_JARS
    assert shelf.jar_of("0") is first
