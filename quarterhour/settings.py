"""Every setting of Quarterhour, declared once: name, meaning, unit, default and what is allowed.

A setting comes from the environment (`QUARTERHOUR_ALLOWED_LATENESS=10min`), else from a TOML file
(`allowed_lateness = "10min"` in the file QUARTERHOUR_CONFIG names, or in `quarterhour.toml` of the working
directory), else from its default. An empty variable counts as unset. Durations are a whole number and a
unit (`1500ms`, `600s`, `10min`, `24h`, `400d`) outside and integer milliseconds inside, where the name
ends in `_ms`. Brokers and database default to the local parts of the home folder when they are up.

This module reads the environment and files; it connects to nothing.
"""

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StringConstraints, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from quarterhour.durations import FORM, format_duration, parse_duration_ms
from quarterhour.errors import PartUnreachable, WrongSetting
from schemas.topics import Topic

PREFIX = "QUARTERHOUR_"
CONFIG_VARIABLE = "QUARTERHOUR_CONFIG"
CONFIG_FILE = "quarterhour.toml"
# Written by `quarterhour up` into the home folder while the local parts run; holds these settings.
END_POINTS_FILE = "end-points.json"
END_POINTS = ("kafka_brokers", "postgres_dsn")
HIDDEN = "***"

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Allowed(NamedTuple):
    """What a setting's type allows, for people; part of the type's annotation."""

    text: str


class DurationType(NamedTuple):
    """Marks a setting held in ms and written as a duration."""


def _split_list(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(parse_duration_ms), DurationType()]
Brokers = Annotated[
    str,
    StringConstraints(pattern=r"^[^\s:,/]+:[0-9]{1,5}(,[^\s:,/]+:[0-9]{1,5})*$"),
    Allowed("host:port, more of them after commas"),
]
PostgresUrl = Annotated[
    str,
    StringConstraints(pattern=r"^postgres(ql)?://[^\s]*$"),
    Allowed("a URL postgresql://user:password@host:port/database"),
]
KafkaName = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$"),
    Allowed("1 to 249 of the characters A-Z a-z 0-9 . _ -"),
]
TypeList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_list), Allowed("names after commas")]
HomeFolder = Annotated[Path, AfterValidator(Path.absolute), Allowed("a folder")]
ExistingFile = Annotated[Path, AfterValidator(Path.absolute), Allowed("a file that exists")]


class Settings(BaseSettings):
    """The settings of one process; made by `load_settings` and never changed."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_prefix_target="all",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        validate_default=False,
    )

    kafka_brokers: Brokers | None = Field(
        default=None, description="Kafka brokers to start from; unset: those of the local parts, when up"
    )
    postgres_dsn: PostgresUrl | None = Field(
        default=None,
        repr=False,
        description="PostgreSQL database of the ledger; unset: that of the local parts, when up",
    )
    home: HomeFolder = Field(
        default=Path(".quarterhour"),
        validate_default=True,
        description="Folder of the local parts: their data, logs and end points",
    )
    group: KafkaName = Field(default="quarterhour", description="Consumer group of the stream workers")
    topic_conversation: KafkaName = Field(
        default="conversation", description="Topic of messages and closes of conversations"
    )
    topic_agent_handoff: KafkaName = Field(
        default="agent-handoff", description="Topic of handoffs to and from human agents"
    )
    topic_alert_delivery: KafkaName = Field(
        default="alert-delivery", description="Topic of reports of alert deliveries"
    )
    topic_rejected_events: KafkaName = Field(
        default="rejected-events", description="Topic on which producers are told of their rejected events"
    )
    allowed_lateness_ms: Duration = Field(
        default=10 * MINUTE_MS,
        alias="allowed_lateness",
        ge=0,
        le=30 * DAY_MS,
        description="How long after a session settled its records stay open for late events",
    )
    patience_ms: Duration = Field(
        default=60 * SECOND_MS,
        alias="patience",
        ge=SECOND_MS,
        le=HOUR_MS,
        description="How long an unreachable Kafka or PostgreSQL is waited for before the process ends",
    )
    ignored_types: TypeList = Field(
        default=(),
        description="Event types outside the contract that are counted as unbilled, not as dead letters",
    )
    checkpoint_interval_ms: Duration = Field(
        default=SECOND_MS // 2,
        alias="checkpoint_interval",
        ge=50,
        le=MINUTE_MS,
        description="Time from one checkpoint to the next; longer if saving is, up to 4 times if behind",
    )
    max_ahead_ms: Duration = Field(
        default=5 * MINUTE_MS,
        alias="max_ahead",
        ge=0,
        le=DAY_MS,
        description="How far an event's time may lie ahead of its record's Kafka timestamp",
    )
    max_age_ms: Duration = Field(
        default=400 * DAY_MS,
        alias="max_age",
        ge=HOUR_MS,
        le=4000 * DAY_MS,
        description="How far an event's time may lie behind its record's Kafka timestamp",
    )
    seal_after_ms: Duration = Field(
        default=400 * DAY_MS,
        alias="seal_after",
        ge=HOUR_MS,
        le=4000 * DAY_MS,
        description="Age from which on facts of settled conversations are deleted; at least MAX_AGE",
    )
    dead_letter_limit_share: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="Share of dead letters among recent records above which a worker stops; 1 is never",
    )
    dead_letter_limit_run: int = Field(
        default=1000,
        ge=1,
        le=1_000_000_000,
        description="Number of dead letters one directly after another at which a worker stops",
    )
    max_state_mib: int = Field(
        default=1024,
        ge=1,
        le=1 << 20,
        description="Memory for conversations, in MiB; beyond it those idle longest are left to PostgreSQL",
    )
    session_timeout_ms: Duration = Field(
        default=10 * SECOND_MS,
        alias="session_timeout",
        ge=SECOND_MS,
        le=30 * MINUTE_MS,
        description="Silence after which Kafka gives a worker's partitions to another",
    )
    invoice_grace_ms: Duration = Field(
        default=DAY_MS,
        alias="invoice_grace",
        ge=0,
        le=60 * DAY_MS,
        description="How long after its period an invoice waits for late records before it is issued",
    )
    instance_id: KafkaName | None = Field(
        default=None,
        description="Fixed name of this worker in the group (static membership); unset: a new member a start",
    )
    web_bind: str = Field(
        default="127.0.0.1", min_length=1, description="Address on which a worker serves /metrics and health"
    )
    web_port: int = Field(
        default=0, ge=0, le=65535, description="Port on which a worker serves them; 0 is any free port"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        default="info", description="Least severe log lines that are written"
    )
    log_format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)] = Field(
        default="auto", description="Form of log lines; auto is console on a terminal and json elsewhere"
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to talk to the Kafka brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="PLAIN", description="How to log in, where the security protocol is one with SASL"
    )
    kafka_sasl_username: str | None = Field(default=None, description="User name for SASL")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="Password for SASL")
    kafka_ca_file: ExistingFile | None = Field(
        default=None, description="Certificates of authorities to trust (PEM); unset: those of the system"
    )
    kafka_cert_file: ExistingFile | None = Field(
        default=None, description="Certificate to show the brokers (PEM)"
    )
    kafka_key_file: ExistingFile | None = Field(default=None, description="Private key of that certificate")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the TOML file; no other source."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config_file())

    @property
    def topics(self) -> dict[Topic, str]:
        """The Kafka topic of each role."""
        return {
            Topic.CONVERSATION: self.topic_conversation,
            Topic.AGENT_HANDOFF: self.topic_agent_handoff,
            Topic.ALERT_DELIVERY: self.topic_alert_delivery,
        }

    def require_kafka_brokers(self) -> str:
        """The Kafka brokers; raises PartUnreachable when none are set and no local parts are up."""
        return self._require("kafka_brokers", self.kafka_brokers)

    def require_postgres_dsn(self) -> str:
        """The ledger's database; raises PartUnreachable when none is set and no local parts are up."""
        return self._require("postgres_dsn", self.postgres_dsn)

    def _require(self, name: str, value: str | None) -> str:
        if value is None:
            raise PartUnreachable(
                f"{variable_of(name)} is not set and no local parts are up in {self.home}: "
                "set it, or start them with `quarterhour up`"
            )
        return value


class SettingRow(NamedTuple):
    """One setting for people: its variable, value (secrets hidden), where that came from, and its meaning."""

    name: str
    value: str
    origin: str
    default: str
    allowed: str
    description: str


def load_settings() -> Settings:
    """Read all settings; raises WrongSetting that names each wrong one, its value and what is allowed."""
    _refuse_unknown_variables()
    file = config_file()
    try:
        settings = Settings()
    except ValidationError as error:
        raise WrongSetting("\n".join(_explain(dict(problem), file) for problem in error.errors())) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise WrongSetting(f"cannot read the settings file {file}: {error}") from None
    _check_together(settings)
    return settings.model_copy(update=_local_end_points(settings))


def describe(settings: Settings) -> list[SettingRow]:
    """Every setting in the order of its declaration, with secrets hidden."""
    file = config_file()
    origins = dict.fromkeys(tomllib.loads(file.read_text()), str(file)) if file else {}
    return [_row(settings, name, field, origins) for name, field in Settings.model_fields.items()]


def config_file() -> Path | None:
    """The TOML file to read, or None; one that QUARTERHOUR_CONFIG names must exist."""
    named = os.environ.get(CONFIG_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise WrongSetting(f"{CONFIG_VARIABLE}={named!r} is not allowed: it must name a file that exists")
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).is_file() else None


def variable_of(name: str) -> str:
    """The environment variable of a setting, given its TOML name or its attribute."""
    field = Settings.model_fields.get(name)
    return PREFIX + ((field and field.alias) or name).upper()


def hide_password(dsn: str) -> str:
    """The database URL without its password, also when it is malformed."""
    before_login = "://" if "://" in dsn else "^"
    without_login = re.sub(rf"({before_login}[^:/@\s]*):.*@", rf"\1:{HIDDEN}@", dsn)
    return re.sub(r"(?i)(password\s*=\s*)('[^']*'|[^&\s]*)", rf"\1{HIDDEN}", without_login)


def _refuse_unknown_variables() -> None:
    known = {variable_of(name) for name in Settings.model_fields} | {CONFIG_VARIABLE}
    unknown = sorted(
        name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known
    )
    if unknown:
        raise WrongSetting(
            f"no such setting: {', '.join(unknown)}; `quarterhour settings` prints those there are"
        )


def _explain(problem: dict[str, Any], file: Path | None) -> str:
    key = str(problem["loc"][0])
    names = {field.alias or name: name for name, field in Settings.model_fields.items()}
    if problem["type"] == "extra_forbidden":
        return f"no such setting: {key} in {file}; `quarterhour settings` prints those there are"
    variable = variable_of(key)
    field = Settings.model_fields[names[key]]
    shown = _hidden(names[key], problem["input"])
    if problem["type"].endswith("_than_equal") and _is_duration(field):
        shown = format_duration(shown)
    place = "" if os.environ.get(variable) else f" ({key} in {file})"
    return f"{variable}={shown!r}{place} is not allowed: {allowed(field)}"


def allowed(field: FieldInfo) -> str:
    """What values a setting may have, in words."""
    marks = [mark for mark in _marks(field) if isinstance(mark, Allowed)]
    if marks:
        return marks[0].text
    literal = getattr(field.annotation, "__args__", None)
    if getattr(field.annotation, "__origin__", None) is Literal and literal:
        return "one of " + ", ".join(literal)
    return _bounds(field) or "any text"


def _is_duration(field: FieldInfo) -> bool:
    return any(isinstance(mark, DurationType) for mark in field.metadata)


def _marks(field: FieldInfo) -> list[Any]:
    inner = [getattr(part, "__metadata__", ()) for part in getattr(field.annotation, "__args__", ())]
    return [*field.metadata, *(mark for marks in inner for mark in marks)]


def _bounds(field: FieldInfo) -> str:
    limits = {
        name: getattr(mark, name)
        for mark in field.metadata
        for name in ("gt", "ge", "le")
        if hasattr(mark, name)
    }
    if not limits:
        return ""
    if _is_duration(field):
        return f"{FORM}, from {format_duration(limits['ge'])} to {format_duration(limits['le'])}"
    kind = "a whole number" if field.annotation is int else "a number"
    low = f"from {limits['ge']}" if "ge" in limits else f"above {limits['gt']}"
    return f"{kind} {low} to {limits['le']}"


def _check_together(settings: Settings) -> None:
    """Refuse settings that are each allowed and contradict one another."""
    names = [*settings.topics.values(), settings.topic_rejected_events]
    if len(set(names)) < len(names):
        raise WrongSetting(f"QUARTERHOUR_TOPIC_* must be four different topics, not {', '.join(names)}")
    if settings.seal_after_ms < settings.max_age_ms:
        raise WrongSetting(
            f"{variable_of('seal_after')}={format_duration(settings.seal_after_ms)} is not allowed: "
            f"it must be at least {variable_of('max_age')}={format_duration(settings.max_age_ms)}"
        )
    if settings.kafka_security_protocol.startswith("SASL"):
        for name in ("kafka_sasl_username", "kafka_sasl_password"):
            if getattr(settings, name) is None:
                raise WrongSetting(
                    f"{variable_of(name)} must be set where {variable_of('kafka_security_protocol')} is "
                    f"{settings.kafka_security_protocol}"
                )
    for name in ("kafka_ca_file", "kafka_cert_file", "kafka_key_file"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            raise WrongSetting(f"{variable_of(name)}={str(path)!r} is not allowed: a file that exists")
    if (settings.kafka_cert_file is None) != (settings.kafka_key_file is None):
        raise WrongSetting("QUARTERHOUR_KAFKA_CERT_FILE and QUARTERHOUR_KAFKA_KEY_FILE go together: set both")


def _local_end_points(settings: Settings) -> dict[str, str]:
    """End points of the local parts that are up, for the settings that are unset."""
    file = settings.home / END_POINTS_FILE
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WrongSetting(f"cannot read the end points of the local parts in {file}: {error}") from None
    return {name: found[name] for name in END_POINTS if getattr(settings, name) is None and found.get(name)}


def _row(settings: Settings, name: str, field: FieldInfo, in_file: dict[str, str]) -> SettingRow:
    inherited = "local parts" if name in END_POINTS and getattr(settings, name) else "default"
    from_file = in_file.get(field.alias or name, inherited)
    return SettingRow(
        name=variable_of(name),
        value=_text(field, _hidden(name, getattr(settings, name))),
        origin="environment" if os.environ.get(variable_of(name)) else from_file,
        default=_text(field, field.default),
        allowed=allowed(field),
        description=field.description or "",
    )


def _hidden(name: str, value: Any) -> Any:
    if name == "postgres_dsn" and value is not None:
        return hide_password(str(value))
    return HIDDEN if name == "kafka_sasl_password" and value is not None else value


def _text(field: FieldInfo, value: Any) -> str:
    if value is None or value == ():
        return ""
    if _is_duration(field):
        return format_duration(value)
    return ",".join(value) if isinstance(value, tuple) else str(value)
