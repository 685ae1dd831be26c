#!/bin/bash
# An ECR repository whose tags never move, but for those that a wildcard names: moto 5.2.5 cannot take images.
#
# CreateRepository takes imageTagMutabilityExclusionFilters of the type WILDCARD. moto reads the wildcard as a
# regular expression: `*-dirty` breaks PutImage of every tag, and `v1.0` excludes `v1x0`, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check moto==5.2.5 boto3==1.44.5
AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1 venv/bin/python -I - >now <<'PYTHON'
import importlib.metadata
import json
import re

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws


def manifest(number: int) -> str:
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "layers": [], "config": {"size": number}})


def moved(wildcard: str, tag: str) -> str:
    """What happens to a tag that is put twice, where only the wildcard's may move."""
    with mock_aws():
        ecr = boto3.client("ecr")
        ecr.create_repository(
            repositoryName="images",
            imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
            imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": wildcard}],
        )
        try:
            for number in (1, 2):
                ecr.put_image(repositoryName="images", imageManifest=manifest(number), imageTag=tag)
        except ClientError:
            return "is refused"
        except re.error as error:
            return f"breaks: {error}"
        return "moves"


print("moto", importlib.metadata.version("moto"))
print("latest, tag latest:", moved("latest", "latest"))
print("latest, tag 1.0:", moved("latest", "1.0"))
print("v1.0, tag v1x0:", moved("v1.0", "v1x0"))
print("*-dirty, tag 1-dirty:", moved("*-dirty", "1-dirty"))
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
moto 5.2.5
latest, tag latest: moves
latest, tag 1.0: is refused
v1.0, tag v1x0: moves
*-dirty, tag 1-dirty: breaks: nothing to repeat at position 0
SEEN
