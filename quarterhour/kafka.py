"""What a Kafka client of this project is told of the brokers, in aiokafka's words. Connects to nothing."""

import ssl
from typing import Any

from quarterhour.errors import WrongSetting
from quarterhour.settings import Settings


def security_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments on TLS and SASL for any aiokafka client; raises WrongSetting for unusable files."""
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_password:
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return options


def _ssl_context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ca_file)
        if settings.kafka_cert_file:
            context.load_cert_chain(settings.kafka_cert_file, settings.kafka_key_file)
    except (OSError, ssl.SSLError) as error:
        raise WrongSetting(
            f"the files of QUARTERHOUR_KAFKA_CA_FILE, _CERT_FILE, _KEY_FILE: {error}"
        ) from None
    return context
