"""The Korean lexicon: what each verb does, and the small words around it. Data, and the table of forms made from it.

A new verb is one entry in one row of `_ROWS`: "stem/infinitive", or "noun하" for a verb that is its noun too (회전, 회전하다).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import cache

from edge_vla.parse.command import CAREFUL, QUICK, SLOW, Way
from edge_vla.parse.korean_forms import ENDINGS, Base, Form, bases
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
    (_GO, "가/가 이동하 움직이/움직여 나아가/나아가 나가/나가 주행하 달리/달려 걷/걸어 진행하 걸어가/걸어가 달려가/달려가 출발하 운전하 전개하 굴러가/굴러가"),
    (replace(_GO, alone=None), "오/와 걸어오/걸어와 달려오/달려와 빠지/빠져 옮기/옮겨 지나가/지나가"),
    (replace(_GO, way=Way.FORWARD), "전진하 직진하 앞서가/앞서가"),
    (replace(_GO, way=Way.BACKWARD), "후진하 후퇴하 물러나/물러나 물러서/물러서 뒷걸음하 뒷걸음질하 뒷걸음치/뒷걸음쳐 뒷걸음질치/뒷걸음질쳐 백하"),
    (replace(_GO, alone=None, sideways=True), "게걸음하 게걸음치/게걸음쳐 옆걸음하 옆걸음치/옆걸음쳐 옆걸음질하 횡이동하 평행이동하 측면이동하"),
    (Verb(Role.TURN, _A.TURN, alone=Way.LEFT), "회전하 돌/돌아 선회하 돌리/돌려 꺾/꺾어 틀/틀어 턴하 방향전환하 휘/휘어 자전하 회전시키/회전시켜"),
    (Verb(Role.TURN, _A.TURN, way=Way.LEFT), "좌회전하 좌선회하 좌향좌하 좌턴하"),
    (Verb(Role.TURN, _A.TURN, way=Way.RIGHT), "우회전하 우선회하 우향우하 우턴하"),
    (Verb(Role.TURN_BACK, _A.TURN, way=Way.LEFT), "유턴하 뒤돌/뒤돌아 뒤돌아서/뒤돌아서 반전하"),
    (Verb(Role.COME_BACK, _A.NAVIGATE), "돌아가/돌아가"),
    (
        Verb(Role.STOP, _A.STOP),
        "멈추/멈춰/멈추어 정지하 중지하 중단하 대기하 기다리/기다려 서/서 멈춰서/멈춰서 급정지하 일시정지하 비상정지하 긴급정지하 스톱하 스탑하 그만하"
        " 그만두/그만둬 쉬/쉬어 종료하 취소하 주차하 제동하 브레이크하 정차하",
    ),
    (
        Verb(Role.THING, _A.GRAB),
        "잡/잡아 집/집어 들/들어 쥐/쥐어 줍/주워 집어들/집어들어 들어올리/들어올려 가져오/가져와 가져다주/가져다줘 파지하 붙잡/붙잡아 움켜쥐/움켜쥐어"
        " 챙기/챙겨 집어올리/집어올려 움켜잡/움켜잡아",
    ),
    (
        Verb(Role.THING, _A.RELEASE),
        "놓/놓아/놔 내려놓/내려놓아/내려놔 떨어뜨리/떨어뜨려 떨어트리/떨어트려 두/둬 놓아주/놓아줘 방출하 올려놓/올려놓아/올려놔 내려두/내려둬 놔두/놔둬 놔주/놔줘",
    ),
    (Verb(Role.THING, _A.POINT), "가리키/가리켜 가르키/가르켜 지시하 지목하 포인팅하"),
    (
        Verb(Role.LOOK, _A.LOOK),
        "보/봐/보아 쳐다보/쳐다봐 바라보/바라봐 둘러보/둘러봐 살펴보/살펴봐 돌아보/돌아봐 내려다보/내려다봐 올려다보/올려다봐 살피/살펴 관찰하 주시하 탐색하"
        " 확인하 응시하 감시하 스캔하 들여다보/들여다봐 지켜보/지켜봐 두리번거리/두리번거려 수색하 관측하 점검하",
    ),
    (
        Verb(Role.PLACE, _A.NAVIGATE),
        "찾아가/찾아가 찾/찾아 찾아내/찾아내 찾아오/찾아와 다가가/다가가 다가오/다가와 접근하 도달하 도착하 따라가/따라가 따라오/따라와 따르/따라 쫓/쫓아"
        " 쫓아가/쫓아가 추적하 추종하 향하/향해 들어가/들어가 들어오/들어와 돌아오/돌아와 복귀하 귀환하 네비게이트하 내비게이트하 방문하 진입하 찾아보/찾아봐"
        " 검색하 뒤쫓/뒤쫓아 되돌아가/되돌아가 되돌아오/되돌아와 건너가/건너가 올라가/올라가",
    ),
    (Verb(Role.AVOID, _A.AVOID), "피하/피해 피해가/피해가 회피하 우회하 비키/비켜 비켜가/비켜가 비켜서/비켜서 비껴가/비껴가 둘러가/둘러가 에돌아가/에돌아가"),
    (Verb(Role.DO, _A.UNKNOWN), "하/해/하여 시작하 계속하 부탁하 부탁드리/부탁드려 실시하 수행하 실행하 진행시키/진행시켜 시키/시켜"),
    (Verb(Role.BE, _A.UNKNOWN), "있/있어"),
)  # fmt: skip


@cache
def _verb_bases() -> dict[str, list[tuple[Base, Verb]]]:
    table: dict[str, list[tuple[Base, Verb]]] = {}
    for verb, entries in _ROWS:
        for entry in entries.split():
            stem, *infinitives = entry.split("/")
            for surface, base in bases(stem, *(infinitives or [f"{stem[:-1]}해", f"{stem[:-1]}하여"])):
                table.setdefault(surface, []).append((base, verb))
    return table


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

_SIDES = {
    Way.LEFT: "왼쪽 왼편 좌측 왼 좌 왼손편 반시계방향 시계반대방향 반시계 레프트",
    Way.RIGHT: "오른쪽 오른편 우측 오른 우 바른쪽 오른손편 시계방향 시계 라이트",
    Way.FORWARD: "앞 앞쪽 전방 정면 앞편 전면",
    Way.BACKWARD: "뒤 뒤쪽 뒷쪽 후방 뒤편 뒷편 후면",
}
DIRECTIONS: dict[str, Way] = {word: way for way, words in _SIDES.items() for word in words.split()}
SIDE_WORDS = frozenset({"옆", "옆쪽", "측면", "가로"})
FORWARD_ADVERBS = frozenset("똑바로 곧장 곧바로 쭉 쭈욱 직선으로 일직선으로".split())
TO_PARTICLES = ("쪽으로", "방향으로", "편으로", "으로", "로", "")
AT_PARTICLES = ("쪽에서", "쪽에", "편에", "에서", "에", "의")
OBJECT_PARTICLES = ("을", "를")

PACES = {
    "천천히": SLOW, "느리게": SLOW, "서서히": SLOW, "살살": SLOW, "느릿느릿": SLOW, "슬슬": SLOW, "조심스럽게": CAREFUL, "조심조심": CAREFUL,
    "조심히": CAREFUL, "신중하게": CAREFUL, "조심해서": CAREFUL, "안전하게": CAREFUL, "빠르게": QUICK, "빨리": QUICK, "신속하게": QUICK, "신속히": QUICK,
    "재빨리": QUICK, "급히": QUICK, "얼른": QUICK, "빨리빨리": QUICK, "어서": QUICK,
}  # fmt: skip
LITTLE = frozenset("조금 조금만 살짝 약간 약간만 조금씩 살짝만 좀만".split())
FILLERS = frozenset(
    "제발 좀 이제 지금 바로 먼저 우선 로봇아 로봇 로봇은 로봇이 로봇님 야 계속 계속해서 그냥 다시 더 한번 번 네 응 자 음 즉시 당장 꼭 반드시 일단 저기 그럼"
    " 여기서 거기서 제자리에서 제자리 그대로 가만히 나는 저는 내가 제가 너는 네가 당신은 우리는 로버는 로버 부디 다음 다음은 다음으로 이후 이후에 그리고 그다음"
    " 그다음에 그런 그러고 그러면 그리고나서 나서 그후 그후에 그래서 따라서 그러므로 이번에는 이번엔 지금은 이제는 첫째 둘째 셋째 마지막으로 끝으로 또 또한 및"
    " 절대 절대로 결코 정도 대략 약 한 방향 방향으로 쪽으로 편으로 속도로 안녕 안녕하세요 알겠습니다 알겠어 알았어 좋아 좋아요 물론 예 오케이 로봇에게 바퀴를 몸을"
    " 차체를 차를 로봇을 방향을 몸체를 전체 상태로 상태에서 채로 다 모두 최대한 되도록 가능하면 가능한 혹시 쯤 정도로 만큼 거리를 거리만큼 각도로 각도만큼 동안".split()
)  # fmt: skip
STAY = frozenset("가만히 그대로 제자리에 제자리 거기 여기 여기에 거기에 자리에 가만 움직이지".split())
CAMERA = frozenset("카메라 고개 머리 시선 눈 렌즈".split())
BODY = frozenset("방향 몸 차체 로봇 바퀴 몸체 차 핸들 본체 자신 자기".split())
ME_AND_ROBOT = frozenset("로봇 나 저 내 제 너 네 당신 우리 로버 차량 에이전트 자네 그쪽 기기 이번에 다음 지금 이제".split())
NO_TARGET = frozenset("나 저 여기 거기 이리 그것 이것 저것 그거 이거 저거 그 이 저 그곳 이곳 저곳 내 그걸 이걸 나한테 저리 그리".split())
QUESTION_WORDS = frozenset("어디 어디로 어디에 어디야 뭐 뭐가 뭘 무엇 무엇이 무엇을 왜 누구 누가 언제 어떻게 어느 어떤 얼마나 무슨 어디까지".split())
CORRECTIONS = frozenset("아니 아냐 아니야 아니요 아니오 아차 정정 아니다 참".split())
NOT_THIS_BUT = frozenset("말고 아니라 아니고 대신 대신에 말구".split())
WITHOUT = frozenset("없이 금지 불가 금지합니다 금지다 금지해 금지하세요 금지입니다 금지한다 안돼 안됩니다 불가능".split())
STOP_SOON = frozenset("금지 금지합니다 금지다 금지해 금지하세요 금지입니다 금지한다 불가 안돼 안됩니다".split())
AFTER = frozenset("다음 다음에 다음엔 다음에는 후 후에 후엔 뒤 뒤에 뒤엔 이후 이후에 직후".split())
ASIDE_ENDINGS = (
    "니까 으니 므로 지만 는데 인데 은데 라서 어서 아서 해서 져서 려서 워서 았고 었고 있고 이고 으며 이며 느라 때문에 으나 거나 했고 혀서 겨서 됐고 여서"
).split()
ADJECTIVES = frozenset(
    "작은 높은 낮은 넓은 좁은 긴 짧은 많은 적은 같은 밝은 검은 붉은 젊은 늙은 얇은 좋은 낡은 굵은 깊은 얕은 굽은 남은 앉은 묽은 맑은 옅은 짙은 곧은 누운"
    " 서있는 있는 보이는 놓인 큰 먼 흰".split()
)  # fmt: skip
CONDITION_NOUNS = frozenset("화면 정면 측면 표면 장면 라면 가면 옆면 지면 벽면 바닥면 단면 전면 후면 도면 평면".split())
AUXILIARY = frozenset(
    "줘 줘요 줘라 주세요 주십시오 주시오 주라 주시겠어요 주시겠습니까 주실래요 주실래 줄래 줄래요 봐 봐요 봐라 보세요 보십시오 보자 주길 주시길 주시기 버려"
    " 바랍니다 바람 라 요 나가".split()
)  # fmt: skip
