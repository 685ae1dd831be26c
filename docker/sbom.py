"""Print a bill of materials of the image this runs in: CycloneDX 1.5, JSON, on stdout.

    docker run --rm -i --entrypoint python IMAGE - IMAGE VERSION < docker/sbom.py

Standard library only. Debian's packages from dpkg, Python's from their metadata, Java's from the files that
their jars carry and from the runtime's `release` file. What a jar holds without its version has none here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]

# Libraries that are packed into a jar without Maven's files: their folder → group and name.
BUNDLED = {
    "com/google/gson/": ("com.google.code.gson", "gson"),
    "com/lmax/disruptor/": ("com.lmax", "disruptor"),
    "org/apache/commons/cli/": ("commons-cli", "commons-cli"),
    "org/slf4j/": ("org.slf4j", "slf4j-api"),
}


def main() -> None:
    found = {item["purl"]: item for item in (*debian(), *python(), *java())}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": dict(zip(("name", "version"), sys.argv[1:], strict=False), type="container")
        },
        "components": [{"bom-ref": purl, **item} for purl, item in sorted(found.items())],
    }
    print(json.dumps(document, indent=1))


def component(name: str, version: str, purl: str, licence: str = "") -> Component:
    found: Component = {"type": "library", "name": name, "purl": purl}
    if version:
        found["version"] = version
    if licence:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


def debian() -> Iterator[Component]:
    form = "${Package} ${Version} ${Architecture}\n"
    for line in subprocess.check_output(["dpkg-query", "-W", "-f", form], text=True).splitlines():
        name, version, architecture = line.split()
        yield component(name, version, f"pkg:deb/debian/{name}@{quote(version)}?arch={architecture}")


def python() -> Iterator[Component]:
    for item in distributions():
        name = item.name.lower().replace("_", "-")
        licence = item.metadata["License-Expression"] or item.metadata["License"] or ""
        # Some put the whole licence into that field.
        yield component(
            name, item.version, f"pkg:pypi/{name}@{quote(item.version)}", licence.split("\n")[0][:80]
        )


def java() -> Iterator[Component]:
    release = Path("/opt/java/release")
    if release.exists():
        facts = dict(line.split("=", 1) for line in release.read_text().splitlines())
        version = facts["JAVA_VERSION"].strip('"')
        yield component(
            "openjdk", version, f"pkg:generic/openjdk@{version}", "GPL-2.0 with Classpath exception"
        )
    for jar in Path("/opt").rglob("*.jar"):
        with zipfile.ZipFile(jar) as archive:
            for folder, (group, name) in BUNDLED.items():
                if any(entry.startswith(folder) for entry in archive.namelist()):
                    yield component(name, "", f"pkg:maven/{group}/{name}")
            for entry in archive.infolist():  # by entry: a jar that others were put into has names twice
                if entry.filename.endswith("/pom.properties"):
                    facts = properties(archive.read(entry))
                    group, name = facts["groupId"], facts["artifactId"]
                    yield component(name, facts["version"], f"pkg:maven/{group}/{name}@{facts['version']}")
                elif entry.filename == "META-INF/DEPENDENCIES":  # as Apache's own build writes it
                    listed = archive.read(entry).decode()
                    for name, version in re.findall(
                        r"org\.apache\.logging\.log4j:([a-z0-9-]+):jar:([\d.]+)", listed
                    ):
                        yield component(name, version, f"pkg:maven/org.apache.logging.log4j/{name}@{version}")
                elif entry.filename == "META-INF/io.netty.versions.properties":
                    for key, version in properties(archive.read(entry)).items():
                        name, _, what = key.rpartition(".")
                        if what == "version":
                            yield component(name, version, f"pkg:maven/io.netty/{name}@{version}")


def properties(content: bytes) -> dict[str, str]:
    lines = content.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


if __name__ == "__main__":
    main()
