"""What errors of AWS, botocore and the operating system are to the user: one sentence and a remedy."""

from __future__ import annotations

import contextlib
import difflib
import errno
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from contract.errors import BAD_INPUT, FAILED, NOT_FOUND, REFUSED, UNREACHABLE, ByocError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError


@dataclass(frozen=True)
class _Meaning:
    """What an error of AWS is to the user."""

    code: int
    remedy: str = ""
    says: str = "{operation}"


_CREDENTIALS: Final = _Meaning(
    REFUSED, "Renew the credentials: `aws sso login`, or fetch new temporary ones."
)
_KEY: Final = _Meaning(REFUSED, "AWS does not know these credentials: check the profile and the region.")
_FORBIDDEN: Final = _Meaning(
    REFUSED,
    "Ask for that permission, or use another profile (aws.profile); `byoc doctor` checks the role.",
    "AWS does not allow {operation}",
)
_INPUT: Final = _Meaning(BAD_INPUT)
_TAKEN: Final = _Meaning(BAD_INPUT, "Choose another name, or delete what has this one.")
_BUCKET: Final = _Meaning(BAD_INPUT, "Set another aws.bucket in byoc.toml.")
_REGION: Final = _Meaning(BAD_INPUT, "Set aws.region to the bucket's region, or use another aws.bucket.")
_QUOTA: Final = _Meaning(
    REFUSED, "Ask for a higher quota (AWS console, Service Quotas), or choose another instance type."
)
_BUSY: Final = _Meaning(FAILED, "Something else is changing it just now: try again in a moment.")
_SLOWER: Final = _Meaning(UNREACHABLE, "AWS asks to go slower: try again in a minute.")
_TROUBLE: Final = _Meaning(UNREACHABLE, "That is a fault of the service: try again in a minute.")
_MISSING: Final = _Meaning(NOT_FOUND, "`byoc jobs` lists what there is.")
_IMAGE: Final = _Meaning(NOT_FOUND, "`make build push` puts the images there.")
_KMS: Final = _Meaning(BAD_INPUT, "Check aws.kms_key: it must exist in this region and be enabled.")

# The one place that decides: AWS error code → what it means. Codes come from the services' own models and
# from what they send undeclared; a code that is not here is judged by its HTTP status.
_CODES: Final[dict[str, _Meaning]] = {
    "400": _Meaning(  # an answer to HEAD has no body
        REFUSED,
        "S3 gives no reason here; most often the credentials have expired: `byoc doctor` checks them.",
    ),
    "AuthorizationHeaderMalformed": _REGION,
    "BucketAlreadyExists": _Meaning(BAD_INPUT, "It belongs to another account: set another aws.bucket."),
    "ConcurrentModification": _BUSY,
    "ConflictException": _BUSY,
    "EntityAlreadyExists": _TAKEN,
    "ExpiredToken": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
    "IllegalLocationConstraintException": _REGION,
    "ImageNotFoundException": _IMAGE,
    "InsufficientStorage": _Meaning(FAILED),
    "InternalFailure": _TROUBLE,
    "InvalidAccessKeyId": _KEY,
    "InvalidBucketName": _BUCKET,
    "InvalidClientTokenId": _KEY,
    "KMS.DisabledException": _KMS,
    "KMS.NotFoundException": _KMS,
    "KmsException": _KMS,
    "LimitExceeded": _QUOTA,
    "LimitExceededException": _QUOTA,
    "ModelNotReadyException": _Meaning(FAILED, "The model is still being loaded: try again in a moment."),
    "NoSuchBucket": _Meaning(
        NOT_FOUND, "`byoc setup` or `byoc upload` creates the bucket; or set aws.bucket in byoc.toml."
    ),
    "NoSuchEntity": _Meaning(NOT_FOUND, "`byoc doctor` says what is missing, and `byoc setup` makes it."),
    "NoSuchKey": _Meaning(NOT_FOUND, "Check the address; `byoc upload` puts the data set in place."),
    "NoSuchResourceException": _MISSING,
    "OperationAborted": _BUSY,
    "OptInRequired": _Meaning(REFUSED, "Switch the service on for this account, in the AWS console."),
    "PermanentRedirect": _REGION,
    "QuotaExceededException": _QUOTA,
    "RegionDisabledException": _Meaning(REFUSED, "Enable the region for this account, or set aws.region."),
    "RepositoryNotFoundException": _IMAGE,
    "RequestExpired": _CREDENTIALS,
    "RequestLimitExceeded": _SLOWER,
    "RequestTimeTooSkewed": _Meaning(REFUSED, "Set this machine's clock: AWS refuses requests minutes off."),
    "ResourceAlreadyExists": _TAKEN,
    "ResourceAlreadyExistsException": _TAKEN,
    "ResourceInUse": _TAKEN,
    "ResourceLimitExceeded": _QUOTA,
    "ResourceNotFound": _MISSING,
    "ResourceNotFoundException": _MISSING,
    "ServiceQuotaExceededException": _QUOTA,
    "SignatureDoesNotMatch": _Meaning(REFUSED, "The secret key does not belong to the access key."),
    "SlowDown": _SLOWER,
    "Throttling": _SLOWER,
    "ThrottlingException": _SLOWER,
    "TooManyBuckets": _QUOTA,
    "TooManyRequestsException": _SLOWER,
    "UnrecognizedClientException": _KEY,
    "ValidationError": _INPUT,
    "ValidationException": _INPUT,
}

# The same for botocore's own exceptions, by name, the nearest base class first. Those that are not here
# are FAILED.
_LOGIN: Final = _Meaning(REFUSED, "Renew it with `aws sso login`, or choose another aws.profile.")
_SETTING: Final = _Meaning(
    BAD_INPUT, "Check byoc.toml, the options and your AWS configuration (~/.aws/config)."
)
_BOTOCORE: Final[dict[str, _Meaning]] = {
    "AwsChunkedWrapperError": _TROUBLE,
    "BaseEndpointResolverError": _SETTING,
    "ConfigNotFound": _SETTING,
    "ConfigParseError": _SETTING,
    "EndpointProviderError": _SETTING,
    "IncompleteReadError": _TROUBLE,
    "InvalidConfigError": _SETTING,
    "InvalidDNSNameError": _BUCKET,
    "InvalidDefaultsMode": _SETTING,
    "InvalidProxiesConfigError": _SETTING,
    "InvalidRegionError": _Meaning(BAD_INPUT, "Check aws.region, --region and AWS_REGION, e.g. eu-west-1."),
    "InvalidRetryConfigurationError": _SETTING,
    "LoginError": _LOGIN,
    "NoAuthTokenError": _LOGIN,
    "ParamValidationError": _SETTING,
    "ProfileNotFound": _Meaning(BAD_INPUT, "`aws configure list-profiles` shows the profiles there are."),
    "RefreshWithMFAUnsupportedError": _LOGIN,
    "SSOError": _LOGIN,
    "TokenRetrievalError": _LOGIN,
    "UnknownRegionError": _SETTING,
    "ValidationError": _SETTING,
}


NOT_AWS: Final = "NotAWS"
_HTML: Final = re.compile(r"<(!doctype html|html)\b", re.IGNORECASE)


def translate(error: BaseException) -> ByocError | None:
    """The readable form of an exception that boto3 or the operating system raised; None for a bug of ours."""
    if isinstance(error, ByocError):
        return error
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        full = "No space left on the device" if error.errno == errno.ENOSPC else "The disk quota is used up"
        return ByocError(
            f"{full}{f' for {error.filename}' if error.filename else ''}.",
            "Free some space (`df -h .` and `quota` show how much there is) and run the command again.",
            code=FAILED,
            kind="DiskFull",
        )
    if isinstance(error, EOFError) and not error.args:  # what getpass raises, for botocore
        return ByocError(
            "The AWS profile wants a code of an MFA device, and there is no terminal to type it in.",
            "Run a command in a terminal first, e.g. `byoc jobs`: its session then lasts for all commands.",
            code=REFUSED,
            kind="NoTerminal",
        )
    from botocore import exceptions as aws  # here, because importing botocore costs 0.2 s
    from botocore.parsers import ResponseParserError

    if isinstance(error, ResponseParserError) or (
        isinstance(error, aws.ClientError) and _HTML.search(str(error))
    ):
        return ByocError(
            "A web server answers in place of AWS: it sent something that no AWS service sends.",
            "Check aws.endpoint_url, --endpoint-url and AWS_ENDPOINT_URL, and the proxy if there is one.",
            code=UNREACHABLE,
            kind=NOT_AWS,
        )
    if isinstance(error, aws.ClientError):
        return _from_answer(error)
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.CredentialRetrievalError):
        return ByocError(
            "No AWS credentials were found.",
            "Run `aws configure` or `aws sso login`, or set AWS_PROFILE. `byoc local up` needs none.",
            code=REFUSED,
            kind="NoCredentials",
        )
    if isinstance(error, aws.ProxyConnectionError):  # which may well be on this machine
        return ByocError(
            _sentence(str(error)),
            "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and whether the proxy runs.",
            code=UNREACHABLE,
            kind="ProxyUnreachable",
        )
    if isinstance(error, aws.ConnectionError | aws.HTTPClientError):
        return _unreachable(str(error.kwargs.get("endpoint_url", "")), str(error))
    if isinstance(error, aws.BotoCoreError):
        names = (kind.__name__ for kind in type(error).__mro__)
        meaning = next((_BOTOCORE[name] for name in names if name in _BOTOCORE), None)
        meaning = meaning or _Meaning(FAILED, "`byoc doctor` checks credentials, role, bucket and images.")
        return ByocError(_sentence(str(error)), meaning.remedy, code=meaning.code, kind=type(error).__name__)
    if isinstance(error, OSError) and error.filename:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else BAD_INPUT
        remedy = "Check that path and its permissions."
        return ByocError(f"{error.filename}: {error.strerror}.", remedy, code=code, kind=type(error).__name__)
    return None


def _from_answer(error: ClientError) -> ByocError:
    answer: Mapping[str, Any] = error.response
    code = str(answer.get("Error", {}).get("Code", ""))
    text = str(answer.get("Error", {}).get("Message", "")) or str(error)
    if code == "ModelError":
        return _from_model(answer, text)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    meaning = _meaning(code, text, int(code) if code.isdigit() else status)
    return ByocError(
        f"{meaning.says.format(operation=error.operation_name)}: {_sentence(_without_long_lists(text))}",
        meaning.remedy,
        code=meaning.code,
        kind=code or type(error).__name__,
    )


def _meaning(code: str, text: str, status: int) -> _Meaning:
    if "AccessDenied" in code or code == "UnauthorizedOperation" or status in {401, 403}:
        if code in _CODES:
            return _CODES[code]
        return _FORBIDDEN
    if code == "ValidationException" and re.search(r"\bnot (find|found)\b", text, re.IGNORECASE):
        return _MISSING
    if code in _CODES:
        return _CODES[code]
    if status == 404 or code == "NotFound":
        return _Meaning(NOT_FOUND, "Check the name or the address.")
    if status == 429:
        return _SLOWER
    return _TROUBLE if status >= 500 else _INPUT if status >= 400 else _Meaning(FAILED)


def _from_model(answer: Mapping[str, Any], text: str) -> ByocError:
    status = str(answer.get("OriginalStatusCode", ""))
    original = str(answer.get("OriginalMessage", "")) or text
    with contextlib.suppress(ValueError, TypeError, KeyError):  # our own image's errors are JSON
        original = str(json.loads(original)["message"])
    return ByocError(
        f"The model refused the request{f' with {status}' if status else ''}: {_sentence(original)}",
        "" if status.startswith("4") else "`byoc logs ENDPOINT` shows what the container says.",
        code=BAD_INPUT if status.startswith("4") else FAILED,
        kind="ModelError",
    )


_SHOWN: Final = 5
_LISTED: Final = re.compile(
    r"Value '([^']*)' at '[^']*' failed to satisfy constraint: "
    r"Member must satisfy enum value set: \[([^]]*)\]"
)


def _without_long_lists(text: str) -> str:
    """Of a long list of allowed values, those that resemble what was given: there are 300 machines."""
    refused = _LISTED.search(text)
    if not refused or len(allowed := refused[2].split(", ")) <= _SHOWN:
        return text
    shown = difflib.get_close_matches(refused[1], allowed, _SHOWN, 0.5) or allowed[:_SHOWN]
    return text.replace(refused[2], f"{', '.join(shown)} or one of {len(allowed) - len(shown)} others")


def _unreachable(url: str, text: str) -> ByocError:
    where = url or "the AWS endpoint"
    if any(host in (url or text) for host in ("127.0.0.1", "localhost", "[::1]")):
        return ByocError(
            f"Nothing answers at {where}.",
            "Is the local SageMaker up? Start it with `byoc local up`.",
            code=UNREACHABLE,
            kind="Unreachable",
        )
    region = re.search(r"\.([a-z]+(?:-[a-z]+)+-\d+)\.", url)
    if region and region[1] not in (regions := _regions()):
        near = difflib.get_close_matches(region[1], regions, 3)
        return ByocError(
            f"{where} does not answer, and no region {region[1]} is known.",
            f"Check aws.region, --region and AWS_REGION{': ' + ', '.join(near) if near else ''}.",
            kind="UnknownRegion",
        )
    return ByocError(
        f"{where} does not answer ({text}).",
        "Check the network, the proxy and the region.",
        code=UNREACHABLE,
        kind="Unreachable",
    )


def _regions() -> list[str]:
    import botocore.session

    session = botocore.session.get_session()
    return [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("sagemaker", partition)
    ]


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?", "`")) else text + "."
