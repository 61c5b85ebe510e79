"""The section `workers`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from evoprune.config.section import NonNegative, Section
from evoprune.config.values import auto_or_count, gpu_share, plain_mapping


class WorkersConfig(Section):
    """Where the work runs. Nothing here changes a result, except by rounding."""

    backend: Literal["ray", "local"] = "ray"
    """`ray` starts worker processes; `local` works in this process and never imports Ray, with `num_workers` threads,
    by default one. Threads share a GPU better than processes do: small networks train side by side on it."""
    num_workers: Annotated[int | str, BeforeValidator(auto_or_count)] = "auto"
    """Number of worker processes; `auto` is one per GPU, or per `cpus_per_worker` cores. At an `address` it is the
    most that there will be: those that no node has room for start when a node joins."""
    cpus_per_worker: Annotated[int, Field(ge=1, le=1024)] = 1
    """Cores of a worker, and its threads. Workers that fill this machine keep to their own cores."""
    gpus_per_worker: Annotated[float | None, AfterValidator(gpu_share)] = None
    """GPUs of a worker; a fraction shares one, 0 works on the CPU. By default all GPUs are shared evenly."""
    candidates_per_batch: Annotated[int | Literal["auto"], BeforeValidator(auto_or_count)] = "auto"
    """Candidates that a worker trains at once, stacked into one network; `auto` is 1 on a CPU, and as many as fit, at
    most 32, on a GPU."""
    retries: NonNegative = 2
    """How many times work is tried again whose worker died. After that a candidate's status is `lost`."""
    start_limit_s: Annotated[float, Field(gt=0, le=1e6)] = 900.0
    """Seconds that a worker on Ray may take to start. Where all have died, a run waits so long for room on a node."""
    address: str | None = None
    """An existing Ray cluster, such as `auto`. Its nodes need this version of Python and of evoprune but no copy of the
    data. Nodes may join and leave while a run goes on. By default Ray runs on this machine, for this run."""
    runtime_env: Annotated[Mapping[str, Any], BeforeValidator(plain_mapping)] = Field(default_factory=dict)
    """The environment of the workers, passed to Ray as it is, such as `{env_vars: {NCCL_DEBUG: INFO}}` or
    `{working_dir: .}`. With `backend: local` it has no effect."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """What networks run on: `cpu`, `cuda`, or `auto`, which is a GPU where there is one."""
