# What docker/build, docker/smoke and docker/audit share. Sourced, not run.
# shellcheck shell=bash

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

export DOCKER_BUILDKIT=1 BUILDKIT_PROGRESS=${BUILDKIT_PROGRESS:-plain}

# The client: one that can drive BuildKit. From version 23 on that takes the buildx plugin; Debian's 20.10 has it
# built in. A client without it would fall back to the old builder, which knows neither caches nor secrets.
docker_client() {
    local client
    for client in "${DOCKER:-docker}" /usr/bin/docker; do
        command -v "$client" >/dev/null 2>&1 || continue
        if "$client" buildx version >/dev/null 2>&1 || "$client" --version | grep -q 'version 2[0-2]\.'; then
            command -v "$client"
            return
        fi
    done
    command -v "${DOCKER:-docker}" >/dev/null 2>&1 \
        || fail "There is no docker on this machine. Install Docker (https://docs.docker.com/engine/install/), or on a bare Debian: sudo .ci/engine up"
    fail "This docker cannot use BuildKit: install the docker-buildx plugin."
}

need_engine() {
    local said
    said=$("$client" version --format '{{.Server.Version}}' 2>&1) && return
    case $said in
        *"permission denied"*) fail "Docker's socket may not be used by $(id -un): add yourself to the group docker, or use sudo." ;;
        *) fail "No Docker engine answers: start it (systemctl start docker, or Docker Desktop), or on a bare Debian: sudo .ci/engine up" ;;
    esac
}
