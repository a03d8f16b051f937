"""Routes: which request means what."""

import json
import time
from functools import partial

from infra.emulator import auth, cdn, fates, rules
from infra.emulator.ask import Ask
from infra.emulator.config import Config
from infra.emulator.desk import Desk
from infra.emulator.families import FAMILIES, Family
from infra.emulator.faults import Faults
from infra.emulator.paging import paging
from infra.emulator.services import SERVICES
from infra.emulator.stage import Stage
from infra.emulator.wire import Refusal, Reply, Request, json_reply, refuse, succeed
from infra.emulator.world import World

_PREFIXES = ("/v1/", "/kling/v1/")


class App:
    """Answers requests."""

    def __init__(self, config: Config, world: World, stage: Stage, desk: Desk, faults: Faults) -> None:
        self._config = config
        self._world = world
        self._stage = stage
        self._desk = desk
        self._faults = faults

    def __call__(self, request: Request) -> Reply:
        """The reply to any request; it never raises."""
        try:
            return self._route(request)
        except Refusal as refusal:
            return refuse(refusal.code, refusal.message)

    def _route(self, request: Request) -> Reply:
        if request.path.startswith("/cdn/"):
            answer = partial(cdn.serve, self._world, request, request.path.removeprefix("/cdn/"))
            return self._faults.through("cdn", answer) if request.method == "GET" else answer()
        if request.path.startswith("/_emulator/"):
            return self._admin(request)
        auth.check(self._config, request.headers.get("authorization"))
        service = SERVICES.get(_below(request.path))
        if service:
            return self._faults.through("service", partial(service, self._desk, request))
        family, either_id = _resource(request.path)
        if request.method == "GET":
            self._world.saw_query()
        if either_id:
            _allow(request, "GET")
            return self._faults.through("query", partial(self._query, family, either_id))
        _allow(request, "GET", "POST")
        if request.method == "POST":
            return self._create(family, request.body)
        return self._faults.through("query", partial(self._list, family, request))

    def _create(self, family: Family, body: bytes) -> Reply:
        ask = rules.parse(family, body, self._world.characters)
        if ask.external_task_id:
            self._world.saw_create(ask.external_task_id)
        sent, settled = time.time(), True
        try:
            reply = self._faults.through("create", partial(self._perform, ask))
            settled = not reply.dropped and 400 <= reply.status < 500
        finally:
            self._world.saw_sent(ask.external_task_id, sent, settled=settled)
        return reply

    def _perform(self, ask: Ask) -> Reply:
        rules.check(ask, self._config.edition, strict=self._config.strict)
        task = self._world.create(ask, fates.read(ask.prompts), time.time())
        self._stage.begin(task)
        self._stage.callbacks.before_reply(task)
        return succeed(task.created_data(), task.task_id)

    def _query(self, family: Family, either_id: str) -> Reply:
        task = self._world.find(family, either_id)
        return succeed(task.shown(time.time()), task.task_id)

    def _list(self, family: Family, request: Request) -> Reply:
        number, size = paging(request.query, 1000 if family.kind == "voice" else 500)
        now = time.time()
        return succeed([task.shown(now) for task in self._world.list(family, number, size)])

    def _admin(self, request: Request) -> Reply:
        match request.method, request.path.removeprefix("/_emulator/").rstrip("/"):
            case "GET", "state":
                return json_reply(200, self._world.report(time.time()))
            case "POST", "faults":
                return json_reply(200, {"queued": self._faults.queue(_document(request.body))})
            case "POST", "characters":
                return json_reply(200, {"characters": self._world.declare(_document(request.body))})
            case "DELETE", "faults":
                self._faults.clear()
                return json_reply(200, {"queued": 0})
        raise Refusal(1203, f"no such aid: {request.method} {request.path}")


def _below(path: str) -> str:
    """What of a path follows /v1/; all of it where that is not in it."""
    prefix = next((one for one in _PREFIXES if path.startswith(one)), "")
    return path.removeprefix(prefix).removesuffix("/")


def _resource(path: str) -> tuple[Family, str]:
    """The family that a path names, and the task id after it if there is one; Refusal 1203 otherwise."""
    rest = _below(path)
    parent, _, last = rest.rpartition("/")
    if rest in FAMILIES:
        return FAMILIES[rest], ""
    if parent in FAMILIES and last:
        return FAMILIES[parent], last
    raise Refusal(1203, f"the requested resource '{path}' does not exist")


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refusal(1202, f"method {request.method} is not supported")


def _document(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        raise Refusal(1200, "request body is not valid JSON") from None
