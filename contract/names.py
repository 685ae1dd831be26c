"""Names that AWS gives: groups in CloudWatch Logs, and folders that SageMaker makes for each job."""

from __future__ import annotations

from typing import Final

TRAINING_LOGS: Final = "/aws/sagemaker/TrainingJobs"
TRANSFORM_LOGS: Final = "/aws/sagemaker/TransformJobs"
PROCESSING_LOGS: Final = "/aws/sagemaker/ProcessingJobs"
ENDPOINT_LOGS: Final = "/aws/sagemaker/Endpoints"  # a group per endpoint, below this one

# Below the S3OutputPath of DebugHookConfig and ProfilerConfig, and the job's name.
DEBUG_OUTPUT: Final = "debug-output"
RULE_OUTPUT: Final = "rule-output"
HOOK_STATUS: Final = "hook-status.json"  # in debug-output, where the hook had to switch itself off
