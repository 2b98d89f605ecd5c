"""Whatever a source says: a value within its bounds or one ConfigError, for every setting."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings as examples, strategies as st

from engine.config import SettingDeclaration, Settings, declared, load_settings
from engine.errors import ConfigError
from tests.config.published import PREFIX

RELATED = {"db_min_connections", "db_max_connections", "redis_min_connections", "redis_max_connections"}
RELATED |= {"segment_s", "overlap_s"}
BOUNDED = [item for item in declared() if item.rule.at_least is not None]
ids = [item.name for item in BOUNDED]


def loaded(item: SettingDeclaration, text: str) -> object:
    return getattr(load_settings({item.environment_variable: text}), item.name)


def test_every_number_has_both_bounds() -> None:
    for item in declared():
        numeric = item.type in (int, float)
        assert numeric == (item.rule.at_least is not None) == (item.rule.at_most is not None), item.name


def test_every_setting_is_described_once() -> None:
    names = [item.name for item in declared()]
    assert len(names) == len(set(names))
    assert all(item.text.endswith((".", "no.")) for item in declared())


def test_every_default_is_within_its_own_bounds() -> None:
    for item in declared():
        assert item.allows(getattr(Settings(), item.name)), item.name


@pytest.mark.parametrize("item", BOUNDED, ids=ids)
def test_bounds_are_inclusive_and_what_is_beyond_is_refused(item: SettingDeclaration) -> None:
    low, high = item.rule.at_least, item.rule.at_most
    assert low is not None and high is not None
    step = 1 if item.type is int else 0.001
    for inside in (low, high):
        if item.name not in RELATED:
            assert loaded(item, f"{inside}") == inside
    for outside in (low - step, high + step):
        with pytest.raises(ConfigError, match=f"^{item.name}="):
            loaded(item, f"{outside}")


@given(text=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60))
@pytest.mark.parametrize("item", declared(), ids=[item.name for item in declared()])
@examples(max_examples=15, deadline=None)
def test_any_text_gives_a_checked_value_or_a_config_error(item: SettingDeclaration, text: str) -> None:
    try:
        value = loaded(item, text)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert type(value) is item.type
        assert isinstance(value, (bool, int, float, str)) and item.allows(value)


@given(
    text=st.one_of(
        st.integers().map(str),
        st.floats().map(str),
        st.sampled_from(["1_0", "0x10", "١", "9" * 5000, "1e400", "-0", "+5", " 5 ", "5.", "", "True", "infinity"]),
    ),
    item=st.sampled_from(BOUNDED),
)
@examples(max_examples=300, deadline=None)
def test_numbers_in_any_spelling(item: SettingDeclaration, text: str) -> None:
    try:
        value = loaded(item, text)
    except ConfigError:
        return
    assert isinstance(value, (int, float)) and math.isfinite(value)
    assert float(text) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(content=st.dictionaries(st.sampled_from([item.name for item in declared()]) | st.text(max_size=8), json_values))
@examples(max_examples=100, deadline=None)
def test_any_file_gives_checked_values_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    path = Path(tmp_path_factory.mktemp("config") / "c.json")
    path.write_text(json.dumps({"optimized_serving": content}))
    try:
        settings = load_settings({}, path)
    except ConfigError as error:
        assert "\n" not in str(error)
    else:
        assert {name: getattr(settings, name) for name in content} == content


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "on", " On "])
def test_words_for_true(text: str) -> None:
    assert load_settings({PREFIX + "RESIZE_ANTIALIAS": text}).resize_antialias is True


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "off"])
def test_words_for_false(text: str) -> None:
    assert load_settings({PREFIX + "ENABLED": text}).enabled is False


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("devices", ["auto", "cpu", "cuda:0", "cpu,cuda:1", "cuda:0, cuda:1"], ["", "gpu", "cuda", "cpu,", "cuda:x"]),
        ("fast_lane", ["auto", "off"], ["", "true", "Auto", "on"]),
        ("segmentation", ["", "silence", "fixed"], ["none", "Silence"]),
        ("model_factory", ["", "a.b:make", "m:C.make"], ["a.b", ":f", "a:", "a b:c", "../x:y"]),
        ("original_api_url", ["", "http://h", "https://u:p@h:1/x"], ["h", "ftp://h", "http://", "http:// h"]),
        ("api_rate_limit", ["", "60 per minute", "1/second;100 per 2 hours"], ["many", "per minute", "60 per"]),
        ("bind_host", ["0.0.0.0", "::1", "localhost"], ["", "a b", "unix:/x"]),
        ("runtime_dir", ["/run/nightscan"], ["", "relative", "/" + "x" * 90]),
    ],
)
def test_texts_with_a_form(name: str, good: list[str], bad: list[str]) -> None:
    for text in good:
        assert getattr(load_settings({PREFIX + name.upper(): text}), name) == text
    for text in bad:
        with pytest.raises(ConfigError, match=f"^{name}="):
            load_settings({PREFIX + name.upper(): text})


def test_no_setting_opens_the_lane_round_an_applications_checks(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"optimized_serving": {"fast_lane": "on"}}))
    for environ, path in (({PREFIX + "FAST_LANE": "on"}, None), ({}, file)):
        with pytest.raises(ConfigError, match=r"^fast_lane=on .*only code opens.*fast_lane\(app, guard=\.\.\.\)"):
            load_settings(environ, path)


def test_values_given_in_code_are_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"^port=70000 \(argument\): must be a whole number from 0 to 65535$"):
        Settings(port=70_000)
