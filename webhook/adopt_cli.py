"""`reelhook adopt`: fetch what Kling made for a job that has ended without it."""

from __future__ import annotations

import click

from infra.http import HttpError
from infra.queue import make_celery
from webhook import terminal
from worker.adoption import Adoption, NotAdopted
from worker.kling.errors import KlingError, ResourceMissing
from worker.services import Services, now
from worker.store.adoptions import Adopted


@click.command("adopt")
@click.argument("name", metavar="JOB")
@click.option("--task", help="Kling's id of the task, where Kling does not find it by ours.")
def adopt(name: str, task: str | None) -> None:
    """Fetch the task that JOB, by our id, ended without. Where Kling has it a new job of the same caller gets it, is
    archived and told of as any. That costs nothing, and is done once, however often it is asked for.
    """
    settings = terminal.settings()
    services = Services(settings, make_celery(settings, "reelhook-cli"))
    click.get_current_context().call_on_close(services.engine.dispose)
    try:
        adopted = _adopted(services, name, task)
    except NotAdopted as reason:
        raise click.ClickException(str(reason)) from None
    except ResourceMissing as fault:
        raise click.ClickException(f"Kling has no such task: {fault}; --task names it by Kling's own id") from None
    except (KlingError, HttpError) as fault:
        raise click.ClickException(f"Kling did not say, ask again later: {fault}") from None
    word = "has it now" if adopted.is_new else "has it already"
    click.echo(f"task {adopted.job.provider_task_id}: job {adopted.job.id} {word}, and is {adopted.job.state}")


def _adopted(services: Services, name: str, task: str | None) -> Adopted:
    job = services.store.get(name)
    if job is None:
        raise NotAdopted(f"there is no job {name}; it is named by our id, the task_id of the answer to its create")
    return Adoption(services.store, services.provider, now).adopt(job, task)
