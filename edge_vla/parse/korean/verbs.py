"""The Korean verbs: what each one does, and how an eojeol is recognised as a form of one. Data, and the table made from it.

A new verb is one entry in one row of `_ROWS`: "stem/infinitive", or "noun하" for a verb that is its noun too (회전, 회전하다).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cache, lru_cache

from edge_vla.parse.command import Way
from edge_vla.parse.korean.forms import ENDINGS, Base, Form, bases
from edge_vla.types import ActionType


class Role(Enum):
    """Verbs that need more than their kind to be understood."""

    GO = auto()
    TURN = auto()
    TURN_BACK = auto()
    COME_BACK = auto()  # 돌아가: turn, go back or go around, by its arguments
    STOP = auto()
    THING = auto()
    LOOK = auto()
    PLACE = auto()
    AVOID = auto()
    HAND = auto()  # 열다: a command with the gripper only
    DO = auto()  # 하다 behind a noun: 회전을 해
    BE = auto()  # 있다: a description, but 가만히 있어


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb's sense. `way` is in the verb itself; `alone` is assumed when no way is said."""

    role: Role
    kind: ActionType
    way: Way | None = None
    alone: Way | None = None
    sideways: bool = False


_A = ActionType
_GO = Verb(Role.GO, _A.MOVE, alone=Way.FORWARD)
_ROWS: tuple[tuple[Verb, str], ...] = (
    (_GO, """
        가/가 이동하 움직이/움직여 나아가/나아가 나가/나가 주행하 달리/달려 걷/걸어 진행하 걸어가/걸어가 달려가/달려가 출발하 운전하
        전개하 굴러가/굴러가 꼼짝하
    """),
    (replace(_GO, alone=None), "오/와 걸어오/걸어와 달려오/달려와 빠지/빠져 빼/빼 옮기/옮겨 지나가/지나가"),
    (replace(_GO, way=Way.FORWARD), "전진하 직진하 앞서가/앞서가"),
    (replace(_GO, way=Way.BACKWARD), """
        후진하 후퇴하 물러나/물러나 물러서/물러서 뒷걸음하 뒷걸음질하 뒷걸음치/뒷걸음쳐 뒷걸음질치/뒷걸음질쳐 백하
    """),
    (replace(_GO, alone=None, sideways=True), """
        게걸음하 게걸음치/게걸음쳐 옆걸음하 옆걸음치/옆걸음쳐 옆걸음질하 횡이동하 평행이동하 측면이동하
    """),
    (Verb(Role.TURN, _A.TURN, alone=Way.LEFT), """
        회전하 돌/돌아 선회하 돌리/돌려 꺾/꺾어 틀/틀어 턴하 방향전환하 휘/휘어 바꾸/바꿔 변경하 전환하 자전하 회전시키/회전시켜
    """),
    (Verb(Role.TURN, _A.TURN, way=Way.LEFT), "좌회전하 좌선회하 좌향좌하 좌턴하"),
    (Verb(Role.TURN, _A.TURN, way=Way.RIGHT), "우회전하 우선회하 우향우하 우턴하"),
    (Verb(Role.TURN_BACK, _A.TURN, way=Way.LEFT), "유턴하 뒤돌/뒤돌아 뒤돌아서/뒤돌아서 반전하"),
    (Verb(Role.COME_BACK, _A.NAVIGATE), "돌아가/돌아가"),
    (
        Verb(Role.STOP, _A.STOP),
        """
        멈추/멈춰/멈추어 정지하 중지하 중단하 대기하 기다리/기다려 가만있/가만있어 가만히있/가만히있어 서/서 멈춰서/멈춰서
        급정지하 일시정지하 비상정지하 긴급정지하
        스톱하 스탑하 그만하 그만두/그만둬 쉬/쉬어 종료하 취소하 주차하 제동하 브레이크하 정차하
        """,
    ),
    (
        Verb(Role.THING, _A.GRAB),
        """
        잡/잡아 집/집어 들/들어 쥐/쥐어 줍/주워 집어들/집어들어 들어올리/들어올려 가져오/가져와 가져다주/가져다줘 파지하 붙잡/붙잡아
        움켜쥐/움켜쥐어 챙기/챙겨 집어올리/집어올려 움켜잡/움켜잡아
        """,
    ),
    (
        Verb(Role.THING, _A.RELEASE),
        """
            놓/놓아/놔 내려놓/내려놓아/내려놔 떨어뜨리/떨어뜨려 떨어트리/떨어트려 두/둬 놓아주/놓아줘 방출하 올려놓/올려놓아/올려놔
            내려두/내려둬 놔두/놔둬 놔주/놔줘
            """,
    ),
    (Verb(Role.THING, _A.POINT), "가리키/가리켜 가르키/가르켜 지시하 지목하 포인팅하"),
    (
        Verb(Role.LOOK, _A.LOOK),
        """
        보/봐/보아 쳐다보/쳐다봐 바라보/바라봐 둘러보/둘러봐 살펴보/살펴봐 돌아보/돌아봐 내려다보/내려다봐 올려다보/올려다봐
        살피/살펴 관찰하 주시하 탐색하 확인하 응시하 감시하 스캔하 들여다보/들여다봐 지켜보/지켜봐 두리번거리/두리번거려 수색하
        관측하 점검하
        """,
    ),
    (
        Verb(Role.PLACE, _A.NAVIGATE),
        """
        찾아가/찾아가 찾/찾아 찾아내/찾아내 찾아오/찾아와 다가가/다가가 다가오/다가와 접근하 도달하 도착하 따라가/따라가
        따라오/따라와 따르/따라 쫓/쫓아 쫓아가/쫓아가 추적하 추종하 향하/향해 들어가/들어가 들어오/들어와 돌아오/돌아와 복귀하
        귀환하 네비게이트하 내비게이트하 방문하 진입하 찾아보/찾아봐 검색하 뒤쫓/뒤쫓아 되돌아가/되돌아가 되돌아오/되돌아와
        건너가/건너가 올라가/올라가
        """,
    ),
    (Verb(Role.AVOID, _A.AVOID), """
        피하/피해 피해가/피해가 회피하 우회하 비키/비켜 비켜가/비켜가 비켜서/비켜서 비껴가/비껴가 둘러가/둘러가 에돌아가/에돌아가
    """),
    (Verb(Role.HAND, _A.RELEASE), "열/열어 펴/펴 펼치/펼쳐 벌리/벌려 풀/풀어"),
    (Verb(Role.HAND, _A.GRAB), "닫/닫아 오므리/오므려 조이/조여"),
    (Verb(Role.DO, _A.UNKNOWN), """
        하/해/하여 시작하 계속하 부탁하 부탁드리/부탁드려 실시하 수행하 실행하 진행시키/진행시켜 시키/시켜 필요하 적절하 적합하
        바람직하 요청하 바라/바라
    """),
    (Verb(Role.BE, _A.UNKNOWN), "있/있어 계/계셔"),
)  # fmt: skip


_KEPT = 4096  # eojeols; a hostile text has a million different ones


@cache
def _verb_bases() -> dict[str, list[tuple[Base, Verb]]]:
    table: dict[str, list[tuple[Base, Verb]]] = {}
    for verb, entries in _ROWS:
        for entry in entries.split():
            stem, *infinitives = entry.split("/")
            for surface, base in bases(stem, *(infinitives or [f"{stem[:-1]}해", f"{stem[:-1]}하여"])):
                table.setdefault(surface, []).append((base, verb))
    return table


@lru_cache(_KEPT)
def verb_at(word: str) -> tuple[Verb, Form] | None:
    """The verb an eojeol is a form of: the longest base wins, so 찾아가 goes there and does not just look."""
    if word in _FIXED:
        return _FIXED[word]
    table = _verb_bases()
    for cut in range(min(len(word), _LONGEST_VERB), 0, -1):
        found = [(verb, form) for base, verb in table.get(word[:cut], ()) if (form := ENDINGS[base].get(word[cut:]))]
        if found:
            return next((pair for pair in found if pair[1] is Form.PLAIN), found[0])
    return None


_LONGEST_VERB = 12  # syllables
_FIXED = {"스톱": (Verb(Role.STOP, _A.STOP), Form.IMPERATIVE), "그만": (Verb(Role.STOP, _A.STOP), Form.IMPERATIVE)}
VERB_NOUNS: dict[str, Verb] = {
    entry[:-1]: verb
    for verb, entries in _ROWS
    for entry in entries.split()
    if "/" not in entry and len(entry) > 1 and verb.role not in {Role.DO, Role.BE}
} | {"스탑": Verb(Role.STOP, _A.STOP), "멈춤": Verb(Role.STOP, _A.STOP), "움직임": _GO, "뒷걸음질": replace(_GO, way=Way.BACKWARD)}
