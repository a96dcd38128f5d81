"""Addresses of servers and databases as text for people: without user names, passwords and tokens.
Whatever prints an address, or an error that may quote one, prints `masked` of it."""

import os
import re
from urllib.parse import unquote

VARIABLES = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "OPTUNA_STORAGE", "SPATIALLLM_LEASES")
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
MASK = "***"
_USER = re.compile(r"(?<=:/)(/?)([^\s'\"<>/][^\s'\"<>]*)@")  # up to the last @: a password may hold one, or a slash
_PARAMETER = re.compile(r"([?&;](?:\w*password|passwd|pwd|\w*token|\w*secret|\w*key)=)[^&;\s'\"]+", re.IGNORECASE)


def masked(text: object) -> str:
    """The text with `***` for the user information of each address, for secret parameters of its query, and for the
    passwords of this process's own addresses wherever else they stand (drivers quote them decoded)."""
    plain = _PARAMETER.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", str(text)))
    for secret in _own_secrets():
        plain = plain.replace(secret, MASK)
    return plain


def _own_secrets() -> list[str]:
    """Passwords of the environment, as they stand there and decoded; the longest first."""
    secrets = {os.environ.get(name, "") for name in SECRETS}
    for name in VARIABLES:
        user = _USER.search(os.environ.get(name, ""))
        if user:
            password = user.group(2).partition(":")[2]
            secrets |= {password, unquote(password)}
    # Shorter ones are parts of words.
    return sorted((secret for secret in secrets if len(secret) > 3), key=len, reverse=True)
