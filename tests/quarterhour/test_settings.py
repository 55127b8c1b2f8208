"""Settings: read from the environment and a TOML file; a wrong one is named, with its value, at the start."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from quarterhour.cli import main
from quarterhour.durations import UNITS_MS, format_duration, parse_duration_ms
from quarterhour.errors import PartUnreachable, WrongSetting
from quarterhour.settings import END_POINTS_FILE, Settings, describe, hide_password, load_settings
from schemas.topics import Topic


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("QUARTERHOUR_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_variable(name: str, value: str) -> None:
        monkeypatch.setenv(f"QUARTERHOUR_{name}", value)

    return set_variable


def error_of_loading() -> str:
    with pytest.raises(WrongSetting) as caught:
        load_settings()
    return str(caught.value)


def test_defaults_are_those_of_the_published_interface() -> None:
    settings = load_settings()
    assert settings.allowed_lateness_ms == 600_000
    assert settings.patience_ms == 60_000
    assert settings.checkpoint_interval_ms == 500
    assert settings.max_ahead_ms == 300_000
    assert settings.max_age_ms == 400 * 86_400_000
    assert settings.seal_after_ms == 400 * 86_400_000
    assert settings.session_timeout_ms == 10_000
    assert settings.invoice_grace_ms == 86_400_000
    assert (settings.web_bind, settings.web_port) == ("127.0.0.1", 0)
    assert settings.topics == {topic: topic.value for topic in Topic}
    assert settings.kafka_brokers is None and settings.postgres_dsn is None


def test_the_environment_goes_before_the_file_and_the_file_before_the_default(variable: Any) -> None:
    Path("quarterhour.toml").write_text(
        'allowed_lateness = "1h"\npatience = "5s"\nignored_types = ["a.v1"]\n'
    )
    variable("ALLOWED_LATENESS", "2h")
    settings = load_settings()
    assert settings.allowed_lateness_ms == 7_200_000
    assert settings.patience_ms == 5_000
    assert settings.ignored_types == ("a.v1",)
    assert settings.group == "quarterhour"


def test_the_file_may_lie_where_a_variable_says(variable: Any, tmp_path: Path) -> None:
    file = tmp_path / "elsewhere.toml"
    file.write_text('group = "other"\n')
    variable("CONFIG", str(file))
    assert load_settings().group == "other"


def test_an_empty_variable_is_an_unset_one(variable: Any) -> None:
    variable("WEB_PORT", "")
    assert load_settings().web_port == 0


def test_a_list_is_written_with_commas(variable: Any) -> None:
    variable("IGNORED_TYPES", "a.v1, b.v1")
    assert load_settings().ignored_types == ("a.v1", "b.v1")


WRONG = {
    "KAFKA_BROKERS": ("localhost", "host:port"),
    "POSTGRES_DSN": ("host=here", "postgresql://"),
    "GROUP": ("a b", "A-Z a-z 0-9 . _ -"),
    "TOPIC_CONVERSATION": ("x" * 250, "1 to 249"),
    "ALLOWED_LATENESS": ("10", "a whole number and a unit"),
    "PATIENCE": ("2h", "from 1s to 1h"),
    "CHECKPOINT_INTERVAL": ("1 s", "a whole number and a unit"),
    "MAX_AHEAD": ("-5min", "a whole number and a unit"),
    "MAX_AGE": ("PT5M", "a whole number and a unit"),
    "SEAL_AFTER": ("30min", "from 1h to 4000d"),
    "DEAD_LETTER_LIMIT_SHARE": ("0", "above 0 to 1"),
    "DEAD_LETTER_LIMIT_RUN": ("many", "a whole number from 1"),
    "MAX_STATE_MIB": ("0", "a whole number from 1"),
    "SESSION_TIMEOUT": ("500ms", "from 1s to 30min"),
    "INVOICE_GRACE": ("61d", "from 0ms to 60d"),
    "INSTANCE_ID": ("a/b", "1 to 249"),
    "WEB_PORT": ("65536", "from 0 to 65535"),
    "LOG_LEVEL": ("loud", "debug, info, warning, error"),
    "LOG_FORMAT": ("xml", "auto, console, json"),
    "KAFKA_SECURITY_PROTOCOL": ("TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
    "KAFKA_SASL_MECHANISM": ("GSSAPI", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"),
    "KAFKA_CA_FILE": ("/no/such/file", "a file that exists"),
    "CONFIG": ("/no/such/file", "a file that exists"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(name: str, variable: Any) -> None:
    value, allowed = WRONG[name]
    variable(name, value)
    message = error_of_loading()
    assert f"QUARTERHOUR_{name}=" in message
    assert value in message
    assert allowed in message


def test_all_wrong_settings_are_named_at_once(variable: Any) -> None:
    variable("WEB_PORT", "x")
    variable("PATIENCE", "y")
    assert len(error_of_loading().splitlines()) == 2


def test_a_wrong_value_of_the_file_is_named_with_the_file() -> None:
    Path("quarterhour.toml").write_text("max_ahead = 300\n")
    message = error_of_loading()
    assert "QUARTERHOUR_MAX_AHEAD=300" in message
    assert "max_ahead in quarterhour.toml" in message


def test_a_file_that_is_not_toml_is_named() -> None:
    Path("quarterhour.toml").write_text("max_ahead: 5min\n")
    assert "quarterhour.toml" in error_of_loading()


def test_an_unknown_variable_is_refused_by_name(variable: Any) -> None:
    variable("ALLOWED_LATENES", "10min")
    assert "QUARTERHOUR_ALLOWED_LATENES" in error_of_loading()


@pytest.mark.parametrize("key", ["allowed_latenes", "allowed_lateness_ms", "QUARTERHOUR_PATIENCE"])
def test_an_unknown_key_of_the_file_is_refused_by_name(key: str) -> None:
    Path("quarterhour.toml").write_text(f'{key} = "10min"\n')
    assert f"no such setting: {key} in quarterhour.toml" in error_of_loading()


def test_settings_that_contradict_one_another_are_refused(variable: Any) -> None:
    variable("TOPIC_CONVERSATION", "alert-delivery")
    assert "four different topics" in error_of_loading()


@pytest.mark.parametrize(("max_age", "seal_after"), [("400d", "9599h"), ("401d", "400d")])
def test_facts_that_an_event_could_still_join_are_not_to_be_sealed(
    variable: Any, max_age: str, seal_after: str
) -> None:
    variable("MAX_AGE", max_age)
    variable("SEAL_AFTER", seal_after)
    at_least = f"it must be at least QUARTERHOUR_MAX_AGE={max_age}"
    assert error_of_loading() == f"QUARTERHOUR_SEAL_AFTER={seal_after} is not allowed: {at_least}"


def test_sasl_needs_a_name_and_a_password(variable: Any) -> None:
    variable("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    variable("KAFKA_SASL_USERNAME", "me")
    assert "QUARTERHOUR_KAFKA_SASL_PASSWORD must be set" in error_of_loading()


def test_a_certificate_needs_its_key(variable: Any, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    variable("KAFKA_CERT_FILE", "cert.pem")
    assert "go together" in error_of_loading()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:hunter2@host:5432/db",
        "postgresql://me:s@cr:hunter2@host/db",
        "mysql://me:hunter2@host/db",
        "me:hunter2@host/db",
        "postgresql://host/db?user=me&password=hunter2",
        "host=here password=hunter2",
        "host=here password = 'my hunter2' user=me",
    ],
)
def test_a_password_is_hidden_in_every_form_of_a_database_url(dsn: str) -> None:
    assert "hunter2" not in hide_password(dsn)
    assert "host" in hide_password(dsn)


def test_secrets_are_shown_nowhere(variable: Any) -> None:
    variable("POSTGRES_DSN", "postgresql://me:hunter2@host/db")
    variable("KAFKA_SASL_PASSWORD", "hunter2")
    settings = load_settings()
    assert settings.postgres_dsn == "postgresql://me:hunter2@host/db"
    assert "hunter2" not in repr(settings)
    assert not any("hunter2" in text for row in describe(settings) for text in row)


def test_the_secret_of_a_wrong_setting_is_hidden(variable: Any) -> None:
    variable("POSTGRES_DSN", "mysql://me:hunter2@host/db")
    message = error_of_loading()
    assert "mysql://me:***@host/db" in message
    assert "hunter2" not in message


def test_the_secret_of_a_wrong_value_in_the_file_is_hidden() -> None:
    Path("quarterhour.toml").write_text("kafka_sasl_password = 471100\n")
    assert "QUARTERHOUR_KAFKA_SASL_PASSWORD='***'" in error_of_loading()


def test_the_parts_of_the_home_folder_are_used_when_nothing_else_is_set(
    variable: Any, tmp_path: Path
) -> None:
    variable("HOME", "here")
    variable("POSTGRES_DSN", "postgresql://elsewhere/db")
    end_points = {"kafka_brokers": "127.0.0.1:1", "postgres_dsn": "postgresql://local/db"}
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / END_POINTS_FILE).write_text(json.dumps(end_points))
    settings = load_settings()
    assert settings.home == tmp_path / "here"
    assert settings.require_kafka_brokers() == "127.0.0.1:1"
    assert settings.require_postgres_dsn() == "postgresql://elsewhere/db"
    origins = {row.name: row.origin for row in describe(settings)}
    assert origins["QUARTERHOUR_KAFKA_BROKERS"] == "local parts"
    assert origins["QUARTERHOUR_POSTGRES_DSN"] == "environment"


def test_without_parts_what_is_missing_is_named() -> None:
    with pytest.raises(PartUnreachable, match="QUARTERHOUR_KAFKA_BROKERS is not set"):
        load_settings().require_kafka_brokers()


def test_the_command_prints_every_setting_and_where_it_came_from(variable: Any) -> None:
    Path("quarterhour.toml").write_text('group = "other"\nallowed_lateness = "10min"\n')
    variable("PATIENCE", "90s")
    result = CliRunner().invoke(main, ["settings", "--format", "ndjson"])
    rows = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert len(rows) == len(Settings.model_fields)
    assert all(row["description"] and row["allowed"] for row in rows.values())
    assert (rows["QUARTERHOUR_PATIENCE"]["value"], rows["QUARTERHOUR_PATIENCE"]["origin"]) == (
        "90s",
        "environment",
    )
    assert rows["QUARTERHOUR_GROUP"]["origin"] == "quarterhour.toml"
    assert rows["QUARTERHOUR_ALLOWED_LATENESS"]["origin"] == "quarterhour.toml"
    assert (
        rows["QUARTERHOUR_MAX_AGE"] | {"value": "400d", "default": "400d", "origin": "default"}
        == rows["QUARTERHOUR_MAX_AGE"]
    )


def test_a_wrong_setting_ends_the_command_with_status_2(variable: Any) -> None:
    variable("PATIENCE", "soon")
    result = CliRunner().invoke(main, ["settings"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(
        "quarterhour: wrong_setting: QUARTERHOUR_PATIENCE='soon' is not allowed: "
    )


@pytest.mark.parametrize("unit", UNITS_MS)
def test_a_duration_is_read_as_it_is_written(unit: str) -> None:
    assert parse_duration_ms(f"3{unit}") == 3 * UNITS_MS[unit]
    assert parse_duration_ms(format_duration(3 * UNITS_MS[unit])) == 3 * UNITS_MS[unit]


@pytest.mark.parametrize(
    "text", ["", "5", "min", "5 min", "1.5h", "-1s", "5m", "5S", "٣s", 5, 5.0, None, True]
)
def test_no_other_form_is_a_duration(text: object) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration_ms(text)


@pytest.mark.parametrize(
    ("duration_ms", "text"), [(0, "0ms"), (1, "1ms"), (90_000, "90s"), (86_400_000, "1d")]
)
def test_a_duration_is_written_in_the_largest_unit_that_divides_it(duration_ms: int, text: str) -> None:
    assert format_duration(duration_ms) == text
