"""No address is printed with its password."""

import pytest

from tasks.identity.addresses import masked


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://user:pa55word@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://u:p%40ss/word@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        ("postgresql:/u:pa55word@host/db", "postgresql:/***@host/db"),
        ("https://pa55@token@host", "https://***@host"),
        ("https://host/api?api_key=abc123&x=1", "https://host/api?api_key=***&x=1"),
        ("postgresql://host/db?user=u&password=abc", "postgresql://host/db?user=u&password=***"),
        ("sqlite:////a/b.db", "sqlite:////a/b.db"),
        ("mail a@b.org about http://host/x", "mail a@b.org about http://host/x"),
    ],
)
def test_user_information_and_secret_parameters_are_masked(address, shown):
    assert masked(f"{address!r}: refused") == f"{shown!r}: refused"


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "PREFECT_API_URL", "OPTUNA_STORAGE", "SPATIALLLM_LEASES"])
def test_a_password_is_masked_where_an_error_quotes_it_alone(monkeypatch, variable):
    monkeypatch.setenv(variable, "postgresql://me:s3cret%2Fword@host/db")
    assert masked("user me, password s3cret/word (s3cret%2Fword)") == "user me, password *** (***)"
