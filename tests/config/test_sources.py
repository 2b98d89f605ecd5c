"""Which source wins, and that a name nobody knows is never ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config import Settings, declared, load_settings
from engine.errors import ConfigError
from tests.config.conftest import WriteFile
from tests.config.published import PREFIX

BARE = {
    "MODEL_PATH": ("model_path", "/weights.pt"),
    "CSV_DIR": ("csv_dir", "/labels"),
    "API_BATCH_SIZE": ("max_batch_size", "16"),
    "API_RATE_LIMIT": ("api_rate_limit", "60 per minute"),
    "API_CORS_ORIGINS": ("api_cors_origins", "https://a.example, https://b.example"),
    "PREDICT_LOG_FILE": ("predict_log_file", "/var/log/predict.jsonl"),
}


def refusal(environ: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("variable", sorted(BARE))
def test_bare_variables_of_the_original_are_honoured(variable: str, write_file: WriteFile) -> None:
    name, text = BARE[variable]
    settings = load_settings({variable: text}, write_file({"optimized_serving": {}}))
    assert str(getattr(settings, name)) == text
    assert settings.sources[name] == f"environment {variable}"


@pytest.mark.parametrize("variable", sorted(BARE))
def test_an_empty_bare_variable_is_unset(variable: str) -> None:
    assert load_settings({variable: ""}).sources[BARE[variable][0]] == "default"


def test_prefixed_over_bare_over_file_over_default(write_file: WriteFile) -> None:
    file = write_file({"optimized_serving": {"max_batch_size": 2}})
    prefixed, bare = {PREFIX + "MAX_BATCH_SIZE": "4"}, {"API_BATCH_SIZE": "3"}
    assert load_settings({}).max_batch_size == 8
    assert load_settings({}, file).max_batch_size == 2
    assert load_settings(bare, file).max_batch_size == 3
    assert load_settings({**bare, **prefixed}, file).max_batch_size == 4


def test_a_given_file_goes_before_the_named_one(write_file: WriteFile) -> None:
    file = write_file({"optimized_serving": {"top_k": 2}})
    assert load_settings({"NIGHTSCAN_CONFIG": "/does/not/exist"}, file).top_k == 2


def test_other_sections_of_the_file_belong_to_others(write_file: WriteFile) -> None:
    assert load_settings({}, write_file({"web": {"port": 1}, "optimized_serving": {"port": 9000}})).port == 9000


def test_unknown_variable_names_the_nearest() -> None:
    told = refusal({PREFIX + "MAX_BATCHSIZE": "4"})
    assert told == f"unknown setting {PREFIX}MAX_BATCHSIZE (environment); did you mean {PREFIX}MAX_BATCH_SIZE?"


def test_a_variable_in_another_case_is_not_ignored() -> None:
    assert "did you mean " + PREFIX + "PORT" in refusal({(PREFIX + "PORT").lower(): "9000"})


def test_unknown_name_without_anything_near() -> None:
    assert refusal({PREFIX + "ZZZ": "4"}) == f"unknown setting {PREFIX}ZZZ (environment)"


def test_unknown_key_names_file_and_nearest(write_file: WriteFile) -> None:
    file = write_file({"optimized_serving": {"model_pool_sise": 4}})
    assert refusal({}, file) == f"unknown setting model_pool_sise (file {file}); did you mean model_pool_size?"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", 'has no "optimized_serving"'),
        ({"optimised_serving": {}}, 'has no "optimized_serving" at its top, only "optimised_serving"'),
        ({"optimized_serving": []}, "must be an object"),
        ('{"optimized_serving": {"port": 1, "port": 2}}', "setting port stands twice"),
        ({"optimized_serving": {"port": "8001"}}, "port=8001 (file "),
        ({"optimized_serving": {"port": True}}, "port=true (file "),
        ({"optimized_serving": {"port": 1.5}}, "port=1.5 (file "),
        ({"optimized_serving": {"port": None}}, "port=None (file "),
        ({"optimized_serving": {"enabled": 1}}, "enabled=1 (file "),
        ('{"optimized_serving": {"segment_s": NaN}}', "segment_s=nan (file "),
        ('{"optimized_serving": {"segment_s": 1' + "0" * 400 + "}}", "segment_s=inf (file "),
    ],
)
def test_broken_files_are_refused_in_one_line(content: object, told: str, write_file: WriteFile) -> None:
    assert told in refusal({}, write_file(content))


def test_a_missing_file_is_refused_by_name() -> None:
    assert refusal({"NIGHTSCAN_CONFIG": "/does/not/exist"}).startswith("file /does/not/exist: cannot be read")


def test_minimum_over_maximum_names_both() -> None:
    told = refusal({PREFIX + "DB_MAX_CONNECTIONS": "3"})
    assert "db_min_connections=5 (default)" in told
    assert f"db_max_connections=3 (environment {PREFIX}DB_MAX_CONNECTIONS)" in told


def test_overlap_must_leave_a_step() -> None:
    assert "overlap_s=8.0" in refusal({PREFIX + "OVERLAP_S": "8"})


def test_every_setting_tells_its_source() -> None:
    settings = load_settings({PREFIX + "PORT": "9000"})
    assert set(settings.sources) == {item.name for item in declared()}
    assert {name for name, source in settings.sources.items() if source != "default"} == {"port"}


def test_another_process_loads_equal_settings(write_file: WriteFile) -> None:
    file = write_file({"optimized_serving": {"segment_s": 0.1, "enabled": False}})
    settings = load_settings({"MODEL_PATH": "/w.pt"}, file).changed(workers=3)
    assert load_settings(settings.to_environment()) == settings


def test_runtime_dir_below_xdg_else_below_the_temporary_folder(tmp_path: Path) -> None:
    assert load_settings({"XDG_RUNTIME_DIR": str(tmp_path)}).runtime_dir == str(tmp_path / "nightscan")
    for unusable in ("", "relative", str(tmp_path / "gone")):
        assert load_settings({"XDG_RUNTIME_DIR": unusable}).runtime_dir.endswith(f"/nightscan-{os.getuid()}")


def test_unknown_argument_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown setting colour"):
        Settings().changed(colour="red")
