"""What every runner needs: settings, memory, the runtime, the shares of this machine."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from local.config import Config
from local.jobs.slots import Slots
from local.jobs.warmpools import WarmPools
from local.runtime.container import Runtime
from local.store import Store

log = logging.getLogger("local.jobs")


@dataclass(frozen=True)
class Timing:
    """Times in seconds. The defaults are SageMaker's where it documents them."""

    stop_grace: float = 120.0
    """Between SIGTERM and SIGKILL of a training job that is stopped."""
    spot_wait: float = 10.0
    """How long there is no machine for a spot job that was interrupted, where nobody says otherwise."""
    close_grace: float = 10.0
    """The same when this service shuts down."""
    endpoint_grace: float = 30.0
    rules_limit: float = 600.0
    """How long rules may go on after their job."""
    tick: float = 0.5
    """Between two looks at a running job."""
    startup_check: float = 300.0
    """ContainerStartupHealthCheckTimeoutInSeconds, where the variant names none."""
    ping_interval: float = 10.0
    invoke_timeout: float = 60.0
    transform_timeout: float = 600.0
    """InvocationsTimeoutInSeconds, where a transform job names none."""
    retry_pause: float = 0.5
    """Before the first retry of a transform job's request; the next ones wait longer."""


@dataclass(frozen=True)
class Services:
    config: Config
    store: Store
    runtime: Runtime
    slots: Slots = field(default_factory=Slots)
    timing: Timing = field(default_factory=Timing)
    pools: WarmPools = field(default_factory=WarmPools)
    payload_limit: int = 6_291_456

    def aws_environment(self, region: str) -> dict[str, str]:
        """What makes any AWS client in a container talk to this service, in `region`."""
        url = self.runtime.reach(self.config.endpoint_url)
        return {
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "AWS_ENDPOINT_URL": url,
            # sagemaker-training has a variable of its own.
            "S3_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
