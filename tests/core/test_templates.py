"""URI templates: the examples of RFC 6570, the way back, and that it takes linear time."""

import re
import sys
from types import FrameType
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.errors import LocalProtocolError, SchemaError
from mcpcore.templates import MAX_URI_LENGTH, UriTemplate, has_traversal

# The variables of RFC 6570, sections 1.2 and 3.2. `undef` is absent.
VALUES: dict[str, str | list[str] | dict[str, str]] = {
    "count": ["one", "two", "three"],
    "dom": ["example", "com"],
    "dub": "me/too",
    "hello": "Hello World!",
    "half": "50%",
    "var": "value",
    "who": "fred",
    "base": "http://example.com/home/",
    "path": "/foo/bar",
    "list": ["red", "green", "blue"],
    "keys": {"semi": ";", "dot": ".", "comma": ","},
    "v": "6",
    "x": "1024",
    "y": "768",
    "empty": "",
    "empty_keys": {},
}

EXAMPLES = [
    # 2.4.1 and 2.4.2: modifiers
    ("{var}", "value"),
    ("{var:20}", "value"),
    ("{var:3}", "val"),
    # 3.2.1: joining
    ("{count}", "one,two,three"),
    ("{count*}", "one,two,three"),
    ("{/count}", "/one,two,three"),
    ("{/count*}", "/one/two/three"),
    ("{;count}", ";count=one,two,three"),
    ("{;count*}", ";count=one;count=two;count=three"),
    ("{?count}", "?count=one,two,three"),
    ("{?count*}", "?count=one&count=two&count=three"),
    ("{&count*}", "&count=one&count=two&count=three"),
    # 3.2.2: simple
    ("{hello}", "Hello%20World%21"),
    ("{half}", "50%25"),
    ("O{empty}X", "OX"),
    ("O{undef}X", "OX"),
    ("{x,y}", "1024,768"),
    ("{x,hello,y}", "1024,Hello%20World%21,768"),
    ("?{x,empty}", "?1024,"),
    ("?{x,undef}", "?1024"),
    ("?{undef,y}", "?768"),
    ("{var:30}", "value"),
    ("{list}", "red,green,blue"),
    ("{list*}", "red,green,blue"),
    ("{keys}", "semi,%3B,dot,.,comma,%2C"),
    ("{keys*}", "semi=%3B,dot=.,comma=%2C"),
    # 3.2.3: reserved
    ("{+var}", "value"),
    ("{+hello}", "Hello%20World!"),
    ("{+half}", "50%25"),
    ("{base}index", "http%3A%2F%2Fexample.com%2Fhome%2Findex"),
    ("{+base}index", "http://example.com/home/index"),
    ("O{+empty}X", "OX"),
    ("O{+undef}X", "OX"),
    ("{+path}/here", "/foo/bar/here"),
    ("here?ref={+path}", "here?ref=/foo/bar"),
    ("up{+path}{var}/here", "up/foo/barvalue/here"),
    ("{+x,hello,y}", "1024,Hello%20World!,768"),
    ("{+path,x}/here", "/foo/bar,1024/here"),
    ("{+path:6}/here", "/foo/b/here"),
    ("{+list}", "red,green,blue"),
    ("{+list*}", "red,green,blue"),
    ("{+keys}", "semi,;,dot,.,comma,,"),
    ("{+keys*}", "semi=;,dot=.,comma=,"),
    # 3.2.4: fragment
    ("{#var}", "#value"),
    ("{#hello}", "#Hello%20World!"),
    ("{#half}", "#50%25"),
    ("foo{#empty}", "foo#"),
    ("foo{#undef}", "foo"),
    ("{#x,hello,y}", "#1024,Hello%20World!,768"),
    ("{#path,x}/here", "#/foo/bar,1024/here"),
    ("{#path:6}here", "#/foo/bhere"),
    ("{#list*}", "#red,green,blue"),
    ("{#keys}", "#semi,;,dot,.,comma,,"),
    ("{#keys*}", "#semi=;,dot=.,comma=,"),
    # 3.2.5: label
    ("{.who}", ".fred"),
    ("{.who,who}", ".fred.fred"),
    ("{.half,who}", ".50%25.fred"),
    ("www{.dom*}", "www.example.com"),
    ("X{.var}", "X.value"),
    ("X{.empty}", "X."),
    ("X{.undef}", "X"),
    ("X{.var:3}", "X.val"),
    ("X{.list}", "X.red,green,blue"),
    ("X{.list*}", "X.red.green.blue"),
    ("X{.keys}", "X.semi,%3B,dot,.,comma,%2C"),
    ("X{.keys*}", "X.semi=%3B.dot=..comma=%2C"),
    ("X{.empty_keys}", "X"),
    ("X{.empty_keys*}", "X"),
    # 3.2.6: path
    ("{/who}", "/fred"),
    ("{/who,who}", "/fred/fred"),
    ("{/half,who}", "/50%25/fred"),
    ("{/who,dub}", "/fred/me%2Ftoo"),
    ("{/var}", "/value"),
    ("{/var,empty}", "/value/"),
    ("{/var,undef}", "/value"),
    ("{/var,x}/here", "/value/1024/here"),
    ("{/var:1,var}", "/v/value"),
    ("{/list}", "/red,green,blue"),
    ("{/list*}", "/red/green/blue"),
    ("{/list*,path:4}", "/red/green/blue/%2Ffoo"),
    ("{/keys}", "/semi,%3B,dot,.,comma,%2C"),
    ("{/keys*}", "/semi=%3B/dot=./comma=%2C"),
    # 3.2.7: path-style parameters
    ("{;who}", ";who=fred"),
    ("{;half}", ";half=50%25"),
    ("{;empty}", ";empty"),
    ("{;v,empty,who}", ";v=6;empty;who=fred"),
    ("{;v,bar,who}", ";v=6;who=fred"),
    ("{;x,y}", ";x=1024;y=768"),
    ("{;x,y,empty}", ";x=1024;y=768;empty"),
    ("{;x,y,undef}", ";x=1024;y=768"),
    ("{;hello:5}", ";hello=Hello"),
    ("{;list}", ";list=red,green,blue"),
    ("{;list*}", ";list=red;list=green;list=blue"),
    ("{;keys}", ";keys=semi,%3B,dot,.,comma,%2C"),
    ("{;keys*}", ";semi=%3B;dot=.;comma=%2C"),
    # 3.2.8: query
    ("{?who}", "?who=fred"),
    ("{?half}", "?half=50%25"),
    ("{?x,y}", "?x=1024&y=768"),
    ("{?x,y,empty}", "?x=1024&y=768&empty="),
    ("{?x,y,undef}", "?x=1024&y=768"),
    ("{?var:3}", "?var=val"),
    ("{?list}", "?list=red,green,blue"),
    ("{?keys}", "?keys=semi,%3B,dot,.,comma,%2C"),
    ("{?keys*}", "?semi=%3B&dot=.&comma=%2C"),
    # 3.2.9: query continued
    ("{&who}", "&who=fred"),
    ("{&half}", "&half=50%25"),
    ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
    ("{&x,y,empty}", "&x=1024&y=768&empty="),
    ("{&var:3}", "&var=val"),
    ("{&list}", "&list=red,green,blue"),
    ("{&list*}", "&list=red&list=green&list=blue"),
    ("{&keys*}", "&semi=%3B&dot=.&comma=%2C"),
]


@pytest.mark.parametrize(("template", "expected"), EXAMPLES)
def test_examples_of_the_rfc(template: str, expected: str) -> None:
    assert UriTemplate(template).expand(VALUES) == expected


def test_names_are_listed_once_in_order() -> None:
    assert UriTemplate("{b}/{a,b}{?c.d,e%20f*}").variables == ("b", "a", "c.d", "e%20f")
    assert UriTemplate("plain").variables == ()


def test_literals_outside_ascii_are_encoded_and_triplets_kept() -> None:
    assert UriTemplate("/é%2f{a}").expand({"a": "ü"}) == "/%C3%A9%2f%C3%BC"


def test_reserved_values_keep_their_triplets() -> None:
    assert UriTemplate("{+a}").expand({"a": "%41%4%zz%"}) == "%41%254%25zz%25"


def test_a_key_cannot_add_a_parameter() -> None:
    assert UriTemplate("{?a*}").expand({"a": {"x&admin": "1"}}) == "?x%26admin=1"


@pytest.mark.parametrize("value", [3, ("a",), b"a"])
def test_other_kinds_of_values_are_refused(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="'a'"):
        UriTemplate("{a}").expand({"a": value})


@pytest.mark.parametrize("value", [["abcd"], {"a": "b"}])
def test_beginning_of_a_composite_value_is_refused(value: Any) -> None:
    with pytest.raises(LocalProtocolError, match="'a'"):
        UriTemplate("{a:3}").expand({"a": value})


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="surrogate"):
        UriTemplate("{a}").expand({"a": "\ud800"})


@pytest.mark.parametrize(
    ("template", "character"),
    [
        ("a{b", 2),
        ("ab}", 3),
        ("{}", 2),
        ("{+}", 3),
        ("{a,}", 4),
        ("{a:0}", 2),
        ("{a:10000}", 2),
        ("{a:x}", 2),
        ("{a*:3}", 2),
        ("{b,a-b}", 4),
        ("{a..b}", 2),
        ("{.a.}", 3),
        ("{a%2}", 2),
        ("{a{b}", 2),
        ("x/{=a}", 4),
        ("{|a}", 2),
        ("a b", 2),
        ("50%", 3),
        ("a\ud800", 2),
    ],
)
def test_bad_templates_say_where(template: str, character: int) -> None:
    with pytest.raises(SchemaError, match=rf"character {character}:"):
        UriTemplate(template)


@pytest.mark.parametrize(
    ("template", "uri", "expected"),
    [
        ("", "", {}),
        ("", "x", None),
        ("config://app", "config://app", {}),
        ("config://app", "config://app/", None),
        ("x://{id}/data", "x://123/data", {"id": "123"}),
        ("x://{id}/data", "x:///data", None),
        ("x://{id}/data", "x://1/2/data", None),
        ("x://{id}/data", "x://1%2F2/data", {"id": "1/2"}),
        ("x://{id}/data", "x://a:b/data", None),
        ("x://{id}/data", "y://a/data", None),
        ("x://{id}", "x://é", {"id": "é"}),
        ("x://{id}", "x://%C3%A9%252F", {"id": "é%2F"}),
        ("x://{id}", "x://%FF", None),
        ("x://{id}", "x://%", None),
        ("x://{id}", "x://%4", None),
        ("x://{id}", "x://%4g", None),
        ("{a}0b", "x%20b", None),
        ("{a}41", "x%4141", {"a": "xA"}),
        # shortest text from left to right, and what it takes for the rest to match
        ("{a}{b}", "xyz", {"a": "x", "b": "yz"}),
        ("{a}.{b}", "x.y.z", {"a": "x", "b": "y.z"}),
        ("{a}.txt", "x.txt.txt", {"a": "x.txt"}),
        ("{+dir}/{name}", "a/b/c", {"dir": "a/b", "name": "c"}),
        ("{+a}/{+b}", "a/b/c", {"a": "a", "b": "b/c"}),
        ("{+a}x{b}/end", "1x2/3x4/end", {"a": "1x2/3", "b": "4"}),
        ("{a}ab{b}", "aab", None),
        ("f://{+path}", "f:///etc/%2e%2e/x?y#z", {"path": "/etc/../x?y#z"}),
        # several in one expression
        ("{a,b}", "x,y", {"a": "x", "b": "y"}),
        ("{a,b}", "x", {"a": "x"}),
        ("{a,b}", "x,", None),
        ("{+a,b}", "x,y,z", {"a": "x", "b": "y,z"}),
        ("x{/a,b}", "x/1/2", {"a": "1", "b": "2"}),
        ("x{/a,b}", "x/1", {"a": "1"}),
        ("x{/a,b}", "x", {}),
        ("x{/a,b}", "x/1/", {"a": "1", "b": ""}),
        ("x{/a,b}", "x/1/2/3", None),
        ("x{/a,b}/y!", "x/1/y!", {"a": "1"}),
        ("x{/a}/y!", "x/y!", {}),
        ("x{/a}", "x/", {"a": ""}),
        ("x{.a}", "x.tar.gz", {"a": "tar.gz"}),
        ("x{.a,b}", "x.tar.gz", {"a": "tar", "b": "gz"}),
        ("x{#a}", "x#y/z", {"a": "y/z"}),
        ("x{#a}", "x", {}),
        ("x{#a}", "x#", {"a": ""}),
        # named
        ("x{;a,b}", "x;b=2;a=1", {"a": "1", "b": "2"}),
        ("x{;a,b}", "x;a", {"a": ""}),
        ("x{;a}/y", "x;a=1/y", {"a": "1"}),
        ("x{?a,b}", "x?a=1&b=2", {"a": "1", "b": "2"}),
        ("x{?a,b}", "x?b=2&a=1", {"a": "1", "b": "2"}),
        ("x{?a,b}", "x?b=2", {"b": "2"}),
        ("x{?a,b}", "x", {}),
        ("x{?a,b}", "x?", None),
        ("x{?a,b}", "x?a=1&c=3", None),
        ("x{?a,b}", "x?a=1&a=2", None),
        ("x{?a,b}", "x?a=1&", None),
        ("x{?a,ab}", "x?ab=1", {"ab": "1"}),
        ("x{?ab}b{+rest}", "x?ab=1bz", {"ab": "1", "rest": "z"}),
        ("x{?a}", "x?a=1=2/3%26", {"a": "1=2/3&"}),
        ("x{?a}", "x?a=", {"a": ""}),
        ("x{?a}{#f}", "x?a=1#top", {"a": "1", "f": "top"}),
        ("x?k=v{&a,b}", "x?k=v&b=2", {"b": "2"}),
        ("x{?a}{&b}", "x?a=1&b=2", {"a": "1", "b": "2"}),
        # explode
        ("x{/path*}", "x/a/b/c%2Fd", {"path": "a/b/c/d"}),
        ("x{/path*}/end", "x/a/b/end", {"path": "a/b"}),
        ("{a*}", "x,y", {"a": "x,y"}),
        ("{a}", "x,y", None),
        ("x{?a*}", "x?a=1&a=2", {"a": "1,2"}),
        # one name, several places
        ("{a}-{a}", "x-x", {"a": "x"}),
        ("{a}-{a}", "x-y", None),
        ("{/a:1,a}", "/v/value", {"a": "value"}),
        ("{/a:1,a}", "/w/value", None),
        ("{/a:1,a:3}", "/v/val", {"a": "val"}),
        ("{a:3}", "abc", {"a": "abc"}),
        ("{a:3}", "abcd", None),
    ],
)
def test_match(template: str, uri: str, expected: dict[str, str] | None) -> None:
    assert UriTemplate(template).match(uri) == expected


def test_a_longer_uri_is_not_looked_at() -> None:
    template = UriTemplate("{a}")
    assert template.match("x" * MAX_URI_LENGTH) == {"a": "x" * MAX_URI_LENGTH}
    assert template.match("x" * (MAX_URI_LENGTH + 1)) is None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.tuples(texts, texts, texts).filter(all))
def test_simple_variables_come_back(values: tuple[str, str, str]) -> None:
    given_values: dict[str, str] = dict(zip(("a", "b", "c"), values, strict=True))
    template = UriTemplate("x://{a}/{b}/c/{c}")
    assert template.match(template.expand(given_values)) == given_values


@pytest.mark.parametrize("expression", ["{/a,b,c}", "{;a,b,c}", "{?a,b,c}", "?k=v{&a,b,c}", "{#a}{?b}{&c}"])
@given(a=texts, b=texts, c=texts)
def test_marked_variables_come_back_even_if_empty(expression: str, a: str, b: str, c: str) -> None:
    template = UriTemplate("x:" + expression)
    if "#" in expression:  # a fragment holds anything, also what looks like a query: only its own text is certain
        a = "".join(filter(str.isalnum, a))
    given_values = {"a": a, "b": b, "c": c}
    assert template.match(template.expand(given_values)) == given_values


oracle_pieces = st.lists(st.sampled_from(["{a}", "{b}", "{+c}", "{+d}", "/", "a", "%41", "41"]), max_size=6)


@given(oracle_pieces.filter(lambda parts: len(parts) == len(set(parts))), st.text("ab/4%1", max_size=10))
def test_simple_and_reserved_variables_are_lazy_groups(parts: list[str], uri: str) -> None:
    """The rules are those of a lazy regular expression, which tries everything: affordable on ten characters."""
    groups = {
        "{a}": "(?P<a>(?:[ab41]|%[ab41]{2})+?)",
        "{b}": "(?P<b>(?:[ab41]|%[ab41]{2})+?)",
        "{+c}": "(?P<c>(?:[ab41/]|%[ab41]{2})+?)",
        "{+d}": "(?P<d>(?:[ab41/]|%[ab41]{2})+?)",
    }
    lazy = re.fullmatch("".join(groups.get(part, part) for part in parts), uri)
    try:
        expected = lazy and {name: unquote(text, errors="strict") for name, text in lazy.groupdict().items()}
    except UnicodeDecodeError:
        expected = None
    assert UriTemplate("".join(parts)).match(uri) == expected


pieces = st.lists(
    st.sampled_from(["{a}", "{+b}", "{#c}", "{.d}", "{/e*}", "{;f,g}", "{?h,i*}", "{&j}", "{k,l}", "/", "a", "%41"])
)


@given(pieces, st.text("ab/.,;?&#=%41fghij", max_size=20))
def test_whatever_matches_can_be_read(parts: list[str], uri: str) -> None:
    """No URI breaks the reader, and all values are of the template."""
    template = UriTemplate("".join(parts))
    found = template.match(uri)
    assert found is None or set(found) <= set(template.variables)


def lines_run(template: UriTemplate, uri: str) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        template.match(uri)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize(
    ("template", "unit", "tail"),
    [
        ("{a}{b}{c}{d}{e}!", "a", ""),
        ("{+a}/{+b}/{+c}/{+d}!", "/", ""),
        ("{/a*}{/b*}{/c*}!", "/a", ""),
        ("{a}%41{a}%41{a}!", "%41", ""),
        ("{?a,b,aa*}!", "&aa=1", "&"),
        ("{.a,b,c,d}!", ".", "?"),
        ("{a*,b*,c*}!", ",a", ""),
    ],
)
def test_ten_times_the_length_is_at_most_ten_times_the_work(template: str, unit: str, tail: str) -> None:
    compiled = UriTemplate(template)
    short, long = (lines_run(compiled, unit * (size // len(unit)) + tail) for size in (120, 1200))
    assert short > 120
    assert long <= 10.5 * short


@pytest.mark.parametrize(
    "value",
    [
        "..",
        "a/../b",
        "../a",
        "a/..",
        "%2e%2e/a",
        "%252e%252e",
        "a/.%2E/b",
        ".. /a",
        "...",
        "a\\b",
        "a%5Cb",
        "/etc/passwd",
        "%2Fetc",
        "C:/x",
        "c:x",
        "a\0b",
        "a%00b",
        "%25252525252e",
    ],
)
def test_traversal(value: str) -> None:
    assert has_traversal(value)


@pytest.mark.parametrize("value", ["", ".", "a", "a/b.c", "a..b", "..a", ".hidden/x", "100%", "ab:c", "50%25", "é/ü"])
def test_no_traversal(value: str) -> None:
    assert not has_traversal(value)
