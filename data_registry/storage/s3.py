"""Objects of S3 buckets for `fetch`: what an object is, and its bytes from an offset on.
Errors are sorted into what the user can mend (InputError), a changed object, and what passes by itself."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from data_registry.cards.card import File, Obtain
from data_registry.errors import InputError

_CHUNK = 1 << 20
_PASSING = frozenset({"SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "503", "504"})


class Interrupted(Exception):
    """The connection broke or the server was busy: ask again."""


class Changed(Exception):
    """The object is another one than at the start: begin again."""


class Source:
    """Reads the objects of a data set that is obtained by S3; safe to share between threads.

    Args:
        name: of the data set, for messages.
        obtain: which bucket, and whether requests are signed; signed ones take boto3's credentials.
    """

    def __init__(self, name: str, obtain: Obtain) -> None:
        self.name, self.obtain = name, obtain
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def stat(self, file: File) -> tuple[int, str, str | None]:
        """Size in bytes, the ETag that names this version, and its MD5 where the ETag is one."""
        with self._errors(file):
            head = self._client(file).head_object(Bucket=self._bucket(file), Key=file.key or file.path)
        etag = head["ETag"].strip('"')
        # of parts the ETag is no MD5 of the whole, and neither is it under KMS
        plain = len(etag) == 32 and not head.get("ServerSideEncryption", "").startswith("aws:kms")
        return head["ContentLength"], etag, etag if plain else None

    def listed(self, prefix: str) -> list[str]:
        """Keys of the card's bucket that begin with `prefix`, sorted."""
        where = File(prefix, None, None)
        with self._errors(where):
            pages = self._client(where).get_paginator("list_objects_v2")
            answers = pages.paginate(Bucket=self._bucket(where), Prefix=prefix)
            return sorted(entry["Key"] for page in answers for entry in page.get("Contents", ()))

    def chunks(self, file: File, start: int, etag: str) -> Iterator[bytes]:
        """The bytes of a version of an object from `start` on.

        Raises:
            Changed: it is no longer that version.
            Interrupted: the connection broke; what was yielded is good.
            InputError: not allowed, or not there.
        """
        span = {"Range": f"bytes={start}-"} if start else {}
        with self._errors(file):
            answer = self._client(file).get_object(
                Bucket=self._bucket(file), Key=file.key or file.path, IfMatch=f'"{etag}"', **span
            )
            if answer["ETag"].strip('"') != etag:
                raise Changed
            with contextlib.closing(answer["Body"]) as body:
                yield from body.iter_chunks(_CHUNK)

    def _bucket(self, file: File) -> str:
        return file.bucket or self.obtain.bucket

    def _endpoint(self, file: File) -> str:
        return file.endpoint or self.obtain.endpoint

    def _client(self, file: File) -> Any:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config

        obtain, endpoint = self.obtain, self._endpoint(file)
        with self._lock:  # creating clients is not safe between threads, using them is
            if endpoint not in self._clients:
                config = Config(
                    signature_version=UNSIGNED if obtain.credentials == "unsigned" else "s3v4",
                    retries={"total_max_attempts": 1},  # `fetch` retries, and goes on where it was
                    connect_timeout=20,
                    read_timeout=60,
                    max_pool_connections=32,
                    response_checksum_validation="when_required",  # servers that are not Amazon's lack it
                    s3={"addressing_style": "path"} if endpoint else {},
                )
                self._clients[endpoint] = boto3.session.Session().client(
                    "s3", endpoint_url=endpoint or None, region_name=obtain.region or "us-east-1", config=config
                )
            return self._clients[endpoint]

    @contextlib.contextmanager
    def _errors(self, file: File) -> Iterator[None]:
        from botocore import exceptions as known
        from urllib3.exceptions import HTTPError

        credentials = (
            *(known.NoCredentialsError, known.PartialCredentialsError, known.ProfileNotFound),
            *(known.CredentialRetrievalError, known.TokenRetrievalError, known.SSOError),
        )
        where = f"{self.name}: s3://{self._bucket(file)}/{file.key or file.path}"
        try:
            yield
        except known.ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in ("PreconditionFailed", "InvalidRange") or status in (412, 416):
                raise Changed from None
            if code in _PASSING or status == 429 or status >= 500:
                raise Interrupted(f"{where}: {error}") from None
            if status in (400, 401, 403):  # some servers call a missing signature a bad request
                raise InputError(f"{where}: not allowed ({code}); {self._remedy()}") from None
            if status == 404:
                raise InputError(f"{where}: not there ({code}); correct the card's bucket or key") from None
            raise InputError(f"{where}: {error}") from None
        except credentials as error:
            raise InputError(f"{where}: {error}; {self._remedy()}") from None
        except (known.ConnectionError, known.HTTPClientError, known.IncompleteReadError, HTTPError, OSError) as error:
            raise Interrupted(f"{where}: {error}") from None
        except (known.BotoCoreError, ValueError) as error:
            raise InputError(f"{where}: {error}; correct the card's endpoint, region or bucket") from None

    def _remedy(self) -> str:
        obtain = self.obtain
        accept = f"accept the licence at {obtain.accept}, and " if obtain.accept else ""
        if obtain.credentials == "unsigned":
            return f"{accept}if the bucket is no longer public, set credentials: required in the card"
        return (
            f"{accept}give credentials that may read it (AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )
