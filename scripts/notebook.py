"""`byoc` in Python, for notebooks: the commands as methods, which show their lines below the cell.

    from byoc_sagemaker.notebook import Project

Each method calls its command's own function, and returns what the command prints with --json. Outside of a
notebook it writes to the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from contract.errors import INTERRUPTED, ByocError
from report.picture import Picture
from scripts import inline, template
from scripts.celloutput import CellOutput, NotebookError, Result, in_notebook
from scripts.commands import data, listing, serving, training, transform, tuning, watch, watching
from scripts.context import Context
from scripts.output import Output
from scripts.ranges import Scalar
from scripts.settings import FILE

Range = tuple[float, float] | tuple[float, float, str] | Sequence[Scalar]


class Project:
    """A folder with a byoc.toml, which the program `byoc` may use too.

    Args:
        folder: where byoc.toml lies; `create` writes one.
        settings: on top of the file, for this object's calls only, by their names in it, as in
            {"train.instance_type": "ml.g5.xlarge"}; a name without a dot is a hyperparameter.

    Every method raises NotebookError for what the user can cause: `message`, `remedy`, `kind`, and `code`,
    the program's exit code. A job or an endpoint that runs on is named in it. Interrupting a cell ends the
    watching, not the job: `watch` comes back to it, `stop` ends it.
    """

    def __init__(self, folder: str | Path = ".", settings: Mapping[str, Any] | None = None) -> None:
        self.file = Path(folder) / FILE
        self.settings = dict(settings or {})
        if not self.file.is_file():
            remedy = "Project.create(FOLDER, SETTINGS) or `byoc init` writes one."
            raise NotebookError(f"There is no {self.file}.", remedy, kind="NoSettings")

    @classmethod
    def create(cls, folder: str | Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Project:
        """Write byoc.toml with these settings, in which every other one is explained, and open it.

        A file with other content stays, and is an error, unless `overwrite`.
        """
        file = Path(folder) / FILE
        named = {"project.name": template.project_name(Path(folder).resolve().name), **settings}
        text = template.render(template.nested(named))
        if file.exists() and file.read_text(encoding="utf-8") != text and not overwrite:
            remedy = f"Project({str(folder)!r}) uses it as it is; overwrite=True replaces it."
            raise NotebookError(f"{file} exists already, with other settings.", remedy)
        try:
            template.write(file, text, inline.overrides(named))
        except ByocError as error:
            raise NotebookError.of(error) from None
        return cls(folder)

    def start_local(self) -> Result:
        """Start SageMaker on this machine, if the settings name an address on it; on AWS do nothing."""
        return self._do(inline.start_local)

    def stop_local(self) -> Result:
        """Stop the local SageMaker, with its jobs and endpoints; its data stays. On AWS do nothing."""
        return self._do(inline.stop_local)

    def upload(
        self, folder: str | Path | None = None, *, skip_unreadable: bool = False, apply: bool = False
    ) -> Result:
        """Check a folder of pictures, split it, send what S3 lacks. Default: the setting data.folder.

        `apply` writes the settings that would suit the pictures better into byoc.toml.
        """
        root = Path(folder) if folder is not None else None
        return self._do(data.upload, folder=root, skip_unreadable=skip_unreadable, apply=apply)

    def tune(
        self, ranges: Mapping[str, Range] | None = None, *, jobs: int | None = None,
        parallel: int | None = None, epochs: int | None = None, stop_hopeless: bool | None = None,
        strategy: str | None = None, warm_start: Sequence[str] = (), name: str = "", wait: bool = True,
    ) -> Result:  # fmt: skip
        """Look for good hyperparameters with several training jobs; show their table while they run.

        Args:
            ranges: by hyperparameter, on top of [tune.ranges]: (0.001, 0.1), (0.001, 0.1, "log") or a list
                of values, [16, 32].
            epochs: of each training job; with the strategy "hyperband", of the best.
            warm_start: tuning jobs whose trials this one goes on from.
        """
        flags = [f"{key}={inline.range_flag(value)}" for key, value in (ranges or {}).items()]
        options: dict[str, Any] = {"jobs": jobs, "parallel": parallel, "epochs": epochs, "strategy": strategy}
        return self._do(
            tuning.tune, range_=flags, stop_hopeless=stop_hopeless, warm_start=list(warm_start), name=name,
            wait=wait, **options,
        )  # fmt: skip

    def best(self, tuning_job: str | None = None) -> Result:
        """Show the trials of a tuning job and remember the best. Default: the last one with a result."""
        return self._do(tuning.best, tuning_job=tuning_job)

    def train(
        self, *, best: bool = False, name: str = "", wait: bool = True, **hyperparameters: Scalar
    ) -> Result:
        """Train while the rules of the debugger watch; show metrics and findings as they come.

        Args:
            best: take the best hyperparameters of the last tuning job.
            hyperparameters: what differs from byoc.toml, as in train(lr=0.001).
        """
        return self._do(training.train, hyperparameters, best=best, name=name, wait=wait)

    def findings(self, job: str | None = None) -> Result:
        """Show what the rules found in a training job, with evidence and remedies. Returns rule → outcome."""
        return self._do(inline.findings, job=job)

    def curves(self, job: str | None = None) -> Picture:
        """Loss and accuracy of a training job, or what a tuning job's trials reached, as a picture."""
        picture: Picture = self._do(inline.curves, job=job)["picture"]
        return picture

    def report(self, *jobs: str, output: str | Path | None = None) -> Result:
        """Write one HTML file on a training job, on several side by side, or on a tuning job."""
        return self._do(watching.report, job=list(jobs) or None, output=Path(output) if output else None)

    def deploy(
        self, job: str | None = None, *, endpoint: str | None = None, update: bool = False, wait: bool = True
    ) -> Result:
        """Create an endpoint for a training job's model, which costs money until `delete`.

        `update` replaces the model of a running endpoint without a gap.
        """
        return self._do(serving.deploy, job=job, endpoint=endpoint, update=update, wait=wait)

    def predict(self, *pictures: bytes | str | Path, top: int = 1, endpoint: str | None = None) -> Result:
        """Send pictures to the endpoint: bytes as they are, or files, folders and S3 addresses."""
        return self._do(inline.predict, pictures=pictures, top=top, endpoint=endpoint)

    def evaluate(self, source: str | Path | None = None, *, endpoint: str | None = None) -> Result:
        """Measure the endpoint's accuracy on class folders; on the test set, compare it with training's."""
        return self._do(serving.evaluate, source=str(source) if source else None, endpoint=endpoint)

    def transform(self, *pictures: str | Path, job: str | None = None) -> Result:
        """Classify pictures with a batch transform job, without an endpoint. Default: the test set."""
        return self._do(transform.transform, pictures=list(map(str, pictures)), job=job)

    def jobs(self) -> Result:
        """List this project's jobs and endpoints, newest first."""
        return self._do(listing.jobs)

    def watch(self, job: str | None = None) -> Result:
        """Watch a job until it has ended. Default: this project's job that runs, or its newest."""
        return self._do(watch.watch, job=job)

    def stop(self, job: str | None = None) -> Result:
        """Stop a job of any kind. Default: this project's job that runs."""
        return self._do(watching.stop, job=job)

    def delete(self, endpoint: str | None = None) -> Result:
        """Delete the endpoint, its configuration and its model. Jobs, data and results stay."""
        return self._do(serving.delete, endpoint=endpoint)

    def delete_all(self, *, yes: bool = False, records: bool = False) -> Result:
        """Delete everything of the project in AWS; without `yes`, show the list and raise NotebookError.

        `records`: those of training and tuning jobs that have ended, too.
        """
        return self._do(serving.delete, all_=True, yes=yes, records=records)

    def _do(
        self, command: Callable[..., None], hyperparameters: Mapping[str, Scalar] | None = None, **values: Any
    ) -> Result:
        """Call a command's function, as the program does, and return its document."""
        settings = {**self.settings, **(hyperparameters or {})}
        out = CellOutput() if in_notebook() else Output()
        context = Context(out, config=self.file, overrides=inline.overrides(settings))
        try:
            command(context, **values)
        except KeyboardInterrupt:
            raise NotebookError.of(context.interrupted()) from None
        except typer.Exit:  # its command has said what goes on
            raise NotebookError("Interrupted.", code=INTERRUPTED, kind="Interrupted") from None
        except Exception as error:
            readable = context.explain(error)
            if readable is None:
                raise
            raise NotebookError.of(readable) from None
        finally:
            out.end()
        return Result(out.document)
