import errno

import pytest
from botocore import exceptions as aws
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from contract.errors import ByocError
from scripts import errors
from scripts.errors import translate


def answer(code: str, message: str, operation: str = "CreateTrainingJob", **more: object) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, **more}, operation)  # type: ignore[arg-type, typeddict-item]


def status(number: int, code: str, message: str, operation: str = "CreateTrainingJob") -> ClientError:
    return answer(code, message, operation, ResponseMetadata={"HTTPStatusCode": number})


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (aws.NoCredentialsError(), errors.REFUSED, "aws configure"),
        (aws.ProfileNotFound(profile="x"), errors.BAD_INPUT, "list-profiles"),
        (aws.InvalidRegionError(region_name="eu_west"), errors.BAD_INPUT, "eu_west"),
        (aws.ProxyConnectionError(proxy_url="http://127.0.0.1:9"), errors.UNREACHABLE, "HTTPS_PROXY"),
        (aws.ConfigParseError(path="config"), errors.BAD_INPUT, "~/.aws/config"),
        (aws.SSOTokenLoadError(error_msg="gone"), errors.REFUSED, "sso login"),
        (aws.UnauthorizedSSOTokenError(), errors.REFUSED, "sso login"),
        (aws.PaginationError(message="twice"), errors.FAILED, "twice"),
        (
            aws.EndpointConnectionError(endpoint_url="https://api.sagemaker.eu-wset-1.amazonaws.com/"),
            errors.BAD_INPUT,
            "no region eu-wset-1 is known. Check aws.region, --region and AWS_REGION: eu-west-1",
        ),
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
        (status(403, "403", "Forbidden", "HeadBucket"), errors.REFUSED, "allow HeadBucket: Forbidden. Ask"),
        (answer("ExpiredTokenException", "expired"), errors.REFUSED, "sso login"),
        (answer("ResourceInUse", "Job exists"), errors.BAD_INPUT, "another name"),
        (answer("EntityAlreadyExists", "Role exists"), errors.BAD_INPUT, "another name"),
        (answer("ConflictException", "Busy"), errors.FAILED, "in a moment"),
        (answer("ResourceLimitExceeded", "ml.g5.xlarge: 0"), errors.REFUSED, "Service Quotas"),
        (answer("ThrottlingException", "Rate exceeded"), errors.UNREACHABLE, "slower"),
        (answer("ValidationException", "Could not find endpoint x"), errors.NOT_FOUND, "byoc jobs"),
        (answer("ValidationException", "1 validation error"), errors.BAD_INPUT, "1 validation error."),
        (answer("ValidationError", "Endpoint x is odd"), errors.BAD_INPUT, "is odd."),
        (answer("ValidationException", "Requested resource not found."), errors.NOT_FOUND, "byoc jobs"),
        (answer("RepositoryNotFoundException", "no repository"), errors.NOT_FOUND, "make build push"),
        (answer("InternalFailure", "oh"), errors.UNREACHABLE, "try again"),
        (answer("InsufficientStorage", "The disk is full"), errors.FAILED, "disk is full"),
        (status(400, "SomethingNew", "Never heard of"), errors.BAD_INPUT, "Never heard of."),
        (status(404, "SomethingNew", "Never heard of"), errors.NOT_FOUND, "Check the name"),
        (status(503, "SomethingNew", "Never heard of"), errors.UNREACHABLE, "try again"),
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
        (status(400, "400", "Bad Request", "HeadObject"), errors.REFUSED, "credentials have expired"),
        (EOFError(), errors.REFUSED, "no terminal"),
        (OSError(errno.ENOSPC, "No space left on device", "a.png"), errors.FAILED, "df -h"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.png"), errors.FAILED, "quota is used up for a.png"),
        (PermissionError(errno.EACCES, "Permission denied", "a.png"), errors.BAD_INPUT, "a.png: Perm"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.png"), errors.NOT_FOUND, "a.png: No such file"),
    ],
)
def test_errors_become_a_sentence_with_a_remedy_and_a_code(error: Exception, code: int, text: str) -> None:
    readable = translate(error)
    assert readable is not None
    assert readable.code == code
    assert text in str(readable)
    assert "\n" not in str(readable)


@pytest.mark.parametrize(
    "error",
    [answer("501", '<!DOCTYPE HTML> <html lang="en"> <h1>Error</h1>'), ResponseParserError("<html>")],
)
def test_a_web_server_is_told_to_be_none_of_aws(error: Exception) -> None:
    readable = translate(error)
    assert readable is not None
    assert readable.kind == errors.NOT_AWS
    assert "html" not in str(readable)
    assert "endpoint_url" in readable.remedy


def test_of_300_machines_those_are_named_that_resemble_what_was_given() -> None:
    machines = ", ".join(f"ml.{kind}{n}.xlarge" for kind in "cmgrt" for n in range(60))
    where = "at 'resourceConfig.instanceType' failed to satisfy constraint: "
    told = f"1 validation error detected: Value 'ml.m5.xlrage' {where}Member must satisfy enum value set: "
    readable = translate(answer("ValidationException", f"{told}[{machines}]"))
    assert readable is not None
    assert f"{told}[ml.m5.xlarge, " in readable.message
    assert readable.message.endswith(" or one of 295 others].")


def test_our_own_errors_stay_and_bugs_stay_bugs() -> None:
    own = ByocError("a", "b")
    assert translate(own) is own
    assert translate(ZeroDivisionError()) is None
