import errno

import pytest
from botocore import exceptions as aws
from botocore.exceptions import ClientError

from scripts import errors
from scripts.errors import ByocError, translate


def answer(code: str, message: str, operation: str = "CreateTrainingJob", **more: object) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, **more}, operation)  # type: ignore[arg-type, typeddict-item]


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (aws.NoCredentialsError(), errors.REFUSED, "aws configure"),
        (aws.ProfileNotFound(profile="x"), errors.REFUSED, "list-profiles"),
        (
            aws.EndpointConnectionError(endpoint_url="http://127.0.0.1:5757/"),
            errors.UNREACHABLE,
            "byoc local up",
        ),
        (
            aws.EndpointConnectionError(endpoint_url="https://sagemaker.eu-west-1.amazonaws.com/"),
            errors.UNREACHABLE,
            "network",
        ),
        (aws.ConnectTimeoutError(endpoint_url="https://a.b/"), errors.UNREACHABLE, "network"),
        (answer("AccessDeniedException", "no sagemaker:CreateTrainingJob"), errors.REFUSED, "permission"),
        (answer("ExpiredTokenException", "expired"), errors.REFUSED, "sso login"),
        (answer("ResourceInUse", "Job exists"), errors.FAILED, "another name"),
        (answer("ResourceLimitExceeded", "ml.g5.xlarge: 0"), errors.REFUSED, "Service Quotas"),
        (answer("ThrottlingException", "Rate exceeded"), errors.UNREACHABLE, "slower"),
        (answer("ValidationException", "Could not find endpoint x"), errors.NOT_FOUND, "byoc jobs"),
        (answer("ValidationException", "1 validation error"), errors.FAILED, "1 validation error."),
        (answer("NoSuchBucket", "no bucket"), errors.NOT_FOUND, "byoc upload"),
        (answer("404", "Not Found", "HeadObject"), errors.NOT_FOUND, "HeadObject"),
        (
            answer(
                "ModelError", "x", "InvokeEndpoint", OriginalStatusCode=415, OriginalMessage="not a picture"
            ),
            errors.BAD_INPUT,
            "415: not a picture",
        ),
        (answer("ModelError", "x", OriginalStatusCode=500), errors.FAILED, "byoc logs"),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), errors.FAILED, "df -h"),
        (PermissionError(errno.EACCES, "Permission denied", "a.png"), errors.FAILED, "a.png: Permission"),
    ],
)
def test_errors_become_a_sentence_with_a_remedy_and_a_code(error: Exception, code: int, text: str) -> None:
    readable = translate(error)
    assert readable is not None
    assert readable.code == code
    assert text in str(readable)
    assert "\n" not in str(readable)


def test_our_own_errors_stay_and_bugs_stay_bugs() -> None:
    own = ByocError("a", "b")
    assert translate(own) is own
    assert translate(ZeroDivisionError()) is None
