"""Why a push failed: what the engine or the registry said, in the user's words."""

from __future__ import annotations

from contract.errors import FAILED, NOT_FOUND, REFUSED, UNREACHABLE, ByocError

# Words of the engine or the registry → may trying again help, what to say, what to do, exit code, kind.
# The first that fits counts.
_CAUSES: tuple[tuple[tuple[str, ...], bool, str, str, int, str], ...] = (
    (
        ("no space left",), False,
        "A disk is full, the Docker engine's or {host}'s: {said}.",
        "Free some space (`docker system df` shows what the engine holds), then push again.",
        FAILED, "DiskFull",
    ),
    (
        ("token has expired",), True,
        "{host}'s login has run out: {said}.", "Push again; layers that have arrived stay there.",
        REFUSED, "ExpiredLogin",
    ),
    (
        (
            "not authorized", "denied", "unauthorized", "forbidden", "no basic auth",
            "authentication required", "insufficient_scope",
        ), False,
        "{host} does not take the image: {said}.", "{login}",
        REFUSED, "PushDenied",
    ),
    (
        ("immutable",), False,
        "{repository}:{tag} exists already with other content, and its tags never move.",
        "Commit the change, so that the image gets a new version, or name one: `make build push TAG=…`.",
        REFUSED, "TagExists",
    ),
    (
        ("http response to https client", "certificate"), False,
        "{host} cannot be reached safely: {said}.",
        "Plain HTTP is for 127.0.0.0/8 only; other hosts need TLS, or a line in insecure-registries.",
        UNREACHABLE, "Insecure",
    ),
    (
        ("manifest invalid", "media type", "unsupported manifest"), False,
        "{host} does not take this kind of image: {said}.",
        "Build it with `make build`: for one platform, without attestations.",
        REFUSED, "BadManifest",
    ),
    (
        ("name unknown", "repository does not exist"), False,
        "{host} has no such repository: {said}.", "Create {repository} there, or check the name.",
        NOT_FOUND, "NoRepository",
    ),
    (
        ("http status: 5",), True,
        "{host} itself fails: {said}.",
        "Its log says why (often its disk is full); then push again, layers that have arrived stay there.",
        UNREACHABLE, "RegistryFailed",
    ),
    (
        ("no such host",), False,
        "{host} has no address: {said}.", "Check the registry's name and the network.",
        UNREACHABLE, "NoHost",
    ),
    (
        (
            "connection reset", "broken pipe", "eof", "timeout", "timed out", "deadline exceeded",
            "write tcp", "read tcp", "dial tcp", "http2:", "stream error", "toomanyrequests", "rate exceeded",
            "server misbehaving", "connection aborted", "incompleteread",
            "network is unreachable", "blob upload", "connection refused", "did not say",
        ), True,
        "The push to {repository} broke off: {said}.",
        "Check the network and the registry, then push again; layers that have arrived stay there.",
        UNREACHABLE, "PushFailed",
    ),
    (
        ("",), False,
        "The push to {repository} failed: {said}.", "Check the registry's name and that it answers.",
        FAILED, "PushFailed",
    ),
)  # fmt: skip
_ECR_LOGIN = (
    "The policy needs ecr:BatchCheckLayerAvailability, InitiateLayerUpload, UploadLayerPart, "
    "CompleteLayerUpload and PutImage (AmazonEC2ContainerRegistryPowerUser has them)."
)


def explain(said: str, repository: str, tag: str) -> tuple[bool, ByocError]:
    """Whether trying again may help, and what to say. `said` is the engine's or registry's text."""
    host = repository.partition("/")[0]
    login = _ECR_LOGIN if ".dkr.ecr." in host else f"Log in: `docker login {host}`."
    words = {"said": said.strip(" ."), "host": host, "repository": repository, "tag": tag, "login": login}
    for signs, passing, message, remedy, code, kind in _CAUSES:
        if any(sign in said.lower() for sign in signs):
            return passing, ByocError(message.format(**words), remedy.format(**words), code=code, kind=kind)
    raise AssertionError("the last cause fits everything")
